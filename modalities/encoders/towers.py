"""An encoder of transformers from its folder, one tower of it where it has two; nothing missing, nothing left over.

It knows neither what goes in nor what is done with what comes out.
"""

import hashlib
from pathlib import Path
from typing import Any

from modalities.assets import AssetError
from modalities.checkpoint import hash_file
from modalities.weights import locate

HEADS = ("classifier.", "proj_out.", "lm_head.")  # a published model may end in one; features are taken before it
OTHERS = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")  # not the pictures'


def tower(store: Path, source: str, revision: str | None = None) -> tuple[Any, Path, str]:
    """The frozen network (of two towers the one that sees), its folder, its weights' digest. Raises AssetError."""
    from transformers import MODEL_MAPPING, AutoConfig
    from transformers.utils import logging

    folder = locate(store, source, revision)
    name = Path(source).name
    files = sorted(folder.glob("*.safetensors"))
    if not (folder / "config.json").is_file() or not files:
        raise AssetError(f"{name} has no config.json with .safetensors weights; fetch its folder whole, or convert it.")
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    seeing = getattr(config, "vision_config", None)
    try:
        kind: Any = MODEL_MAPPING[type(seeing or config)]
    except KeyError:
        raise AssetError(f"{name} ({config.model_type}) is no encoder that transformers knows; use another.") from None
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # its report of the other tower's keys is noise; what matters is checked below
    try:
        network, report = kind.from_pretrained(folder, output_loading_info=True, local_files_only=True)
    except RuntimeError as error:
        raise AssetError(f"{name}: its weights do not fit its config.json ({str(error).splitlines()[0]}).") from None
    finally:
        logging.set_verbosity(before)
    left = [key for key in report["unexpected_keys"] if not key.startswith(HEADS + (OTHERS if seeing else ()))]
    for complaint, keys in (("lacks", report["missing_keys"]), ("has what this network does not:", left)):
        if keys:
            raise AssetError(f"{name} {complaint} {sorted(keys)[0]}; use the published weights of this very network.")
    digest = hashlib.sha256("".join(hash_file(file) for file in files).encode()).hexdigest()
    return network.eval().requires_grad_(False), folder, digest
