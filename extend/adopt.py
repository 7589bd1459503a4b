"""Stage 1 from what people already have: a LLaVA checkpoint's LLM and projector. It trains nothing."""

import tempfile
from pathlib import Path

from extend import RunError
from modalities import llava
from modalities.assemble import save_connectors
from modalities.base import find
from modalities.checkpoint import Checkpoint, Store
from modalities.weights import fill


def adopt(store: Store, source: Path, name: str) -> Checkpoint:
    """A LLaVA folder as the first stage, `name` being the modality that it sees with. Raises RunError, AssetError."""
    if not source.is_dir():
        raise RunError(f"There is no folder {source.name!r}; give one that holds a LLaVA checkpoint.")
    modality = find(name)
    parts = llava.read(store.root, source)
    encoder = modality.encoder(store.root)
    llava.check_encoder(parts, encoder)
    connector = modality.connector(encoder.width, parts.config.hidden_size)
    fill(connector, parts.projector, f"{parts.name}'s projector")
    base_llm = llava.write_backbone(store.root, source, parts)
    with tempfile.TemporaryDirectory(dir=store.root) as folder:
        save_connectors({modality.name: connector}, Path(folder))
        return store.publish(
            {f"connectors/{modality.name}.safetensors": Path(folder) / f"{modality.name}.safetensors"},
            parent=None,
            stage=1,
            method="llava",
            modalities=(name,),
            base_llm=base_llm,
            system=None,
            deltas=(),
            encoders={modality.name: encoder.identity},
            recipe={},
        )
