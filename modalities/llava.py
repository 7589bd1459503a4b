"""A LLaVA checkpoint in parts: its LLM as a backbone folder, its projector as a connector's weights.

Both layouts are read: the original one (`model.mm_projector.0.weight`) and that of transformers
(`multi_modal_projector.linear_1.weight`). It knows neither training nor serving.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from modalities.assets import AssetError, build
from modalities.base import Encoder
from modalities.checkpoint import hash_file
from modalities.encoders.vision import PENULTIMATE, VisionEncoder
from modalities.weights import compare, safe, tensors

NAMES = {  # LLaVA's own, transformers' on disk, transformers' in memory -> ours
    "projector": r"(?:model\.)?(?:mm_projector|multi_modal_projector)\.(?:(0|linear_1)|(?:2|linear_2))\.(weight|bias)",
    "tower": r"(?:model\.)?vision_tower\.(?:vision_tower\.)?(?:vision_model\.)?(.+)",
    "llm": r"language_model\.(.+)",
    "body": r"model\.language_model\.(.+)",
}
VICUNA = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }} "
    "{% elif message['role'] == 'user' %}USER: {{ message['content'] }} "
    "{% else %}ASSISTANT: {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)  # what LLaVA-1.5 was trained with, for tokenizers that come without a chat template
COPIED = ("tokenizer", "special_tokens_map", "added_tokens", "generation_config", "chat_template.jinja")


@dataclass(frozen=True)
class Llava:
    """What a LLaVA checkpoint consists of; the tower is empty where it was not saved."""

    name: str
    config: Any  # the LLM's
    layer: int  # of the tower, that features are taken from
    llm: dict[str, Tensor]
    projector: dict[str, Tensor]
    tower: dict[str, Tensor]


def read(store: Path, source: Path) -> Llava:
    """Take a LLaVA folder apart. Raises AssetError."""
    from transformers import AutoConfig, LlamaConfig

    if not (source / "config.json").is_file():
        raise AssetError(f"{source.name} has no config.json; give the folder of a LLaVA checkpoint.")
    folder = safe(store, source)
    plain = LlamaConfig.from_json_file(folder / "config.json").to_dict()
    if "text_config" in plain:
        whole = AutoConfig.from_pretrained(folder, local_files_only=True)
        config, layer = whole.text_config, whole.vision_feature_layer
    else:
        kept = {key: value for key, value in plain.items() if not key.startswith(("mm_", "model_type", "tune_"))}
        config, layer = LlamaConfig(**kept), plain.get("mm_vision_select_layer", PENULTIMATE)
    parts: dict[str, dict[str, Tensor]] = {"llm": {}, "projector": {}, "tower": {}}
    for key, value in tensors(folder).items():
        part, name = _place(key)
        parts[part][name] = value
    if len(parts["projector"]) != 4:
        raise AssetError(f"{source.name} has no projector of two linear layers; only LLaVA-1.5's kind can be imported.")
    return Llava(source.name, config, layer, **parts)


def _place(key: str) -> tuple[str, str]:
    if found := re.fullmatch(NAMES["projector"], key):
        return "projector", f"linear_{1 if found[1] else 2}.{found[2]}"
    if found := re.fullmatch(NAMES["tower"], key):
        return "tower", found[1]
    if found := re.fullmatch(NAMES["body"], key):
        return "llm", f"model.{found[1]}"
    found = re.fullmatch(NAMES["llm"], key)
    return "llm", found[1] if found else key


def write_backbone(store: Path, source: Path, llava: Llava) -> str:
    """The LLM as a Hugging Face folder in store/assets; returns its name there. Raises AssetError."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with torch.device("meta"):
        wanted = AutoModelForCausalLM.from_config(llava.config).state_dict()
    if llava.config.tie_word_embeddings:
        wanted.pop("lm_head.weight", None)
    compare(wanted, llava.llm, llava.name)

    def make(folder: Path) -> None:
        save_file({k: v.contiguous() for k, v in llava.llm.items()}, folder / "model.safetensors", {"format": "pt"})
        llava.config.architectures = ["LlamaForCausalLM"]
        llava.config.save_pretrained(folder)
        for file in source.iterdir():
            if file.name.startswith(COPIED):
                shutil.copyfile(file, folder / file.name)
        if AutoTokenizer.from_pretrained(folder, local_files_only=True).chat_template is None:
            (folder / "chat_template.jinja").write_text(VICUNA)

    digest = hash_file(sorted([*safe(store, source).glob("*.safetensors")])[0])
    return build(store, f"{llava.name}-{digest[:12]}", make).name


def check_encoder(llava: Llava, encoder: Encoder) -> None:
    """The checkpoint saw through this very encoder: the same layer and, where it brings its tower, the same weights."""
    if not isinstance(encoder, VisionEncoder) or encoder.layer != llava.layer:
        raise AssetError(
            f"{llava.name} takes layer {llava.layer} of a vision tower; choose a modality that does so too."
        )
    own = encoder.network.state_dict()
    for name, value in llava.tower.items():
        if name not in own or own[name].shape != value.shape or not _close(own[name], value):
            raise AssetError(f"{llava.name} brings a tower of its own ({name} differs); import it with that encoder.")


def _close(one: Tensor, other: Tensor) -> bool:
    """Equal up to half precision, in which such checkpoints are saved."""
    return bool(torch.allclose(one.float().cpu(), other.float(), rtol=1e-2, atol=1e-3))
