"""From a checkpoint to a running model: base LLM, deltas folded in order, connectors.

The fold is the merge of paper §4.1: θ_i = θ_0 + Σ scale_k·Δ_k, added in float32 in the manifest's order, so that
the same list always gives the same bits. It knows neither training nor serving.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modalities.backbone import backbone
from modalities.base import Modality, find
from modalities.checkpoint import Checkpoint, Store, StoreError
from modalities.embedder import Embedder, load_tokenizer
from modalities.features import Features
from modalities.mllm import MLLM

PEFT_PREFIX = "base_model.model."


def assemble(store: Store, checkpoint: Checkpoint) -> MLLM:
    """The model of a checkpoint, frozen, in float32. Raises StoreError when a file does not fit."""
    folder = store.folder(checkpoint.id)
    model = folded(store, checkpoint)
    for name in checkpoint.modalities:
        modality = find(name)
        connector = model.embedder.add(modality)
        trained_with, here = checkpoint.encoders[modality.name], model.embedder.encoder(modality.name).identity
        if trained_with != here:
            raise StoreError(
                f"{checkpoint.id} was trained with encoder {trained_with} for {modality.name}, here is {here}; "
                "use the version of the modality that made it."
            )
        load_connector(connector, folder / "connectors" / f"{modality.name}.safetensors")
    return model.eval().requires_grad_(False)


def folded(store: Store, checkpoint: Checkpoint) -> MLLM:
    """θ_i's backbone alone: θ_0 + Σ scale_k·Δ_k."""
    model = bare(store, checkpoint.base_llm, checkpoint.system)
    for delta in checkpoint.deltas:
        fold(model.llm, store.folder(checkpoint.id) / delta.path, delta.scale)
    return model


def bare(store: Store, base_llm: str, system: str | None) -> MLLM:
    """θ_0: the backbone alone, no modality learned."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for half a second of loading is noise
    folder = backbone(store.root, base_llm)
    llm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    embedder = Embedder(
        load_tokenizer(folder),
        cast(nn.Embedding, llm.get_input_embeddings()),
        {},
        encoders=lambda modality: modality.encoder(store.root),
        context=llm.config.max_position_embeddings,
        system=system,
        features=Features(),
    )
    return MLLM(llm, embedder).eval().requires_grad_(False)


@torch.no_grad()
def fold(llm: nn.Module, adapter: Path, scale: float) -> None:
    """W += scale · (alpha/r) · B·A for every linear layer of a PEFT adapter, in place, in the weights' dtype."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    tensors = _read(adapter / "adapter_model.safetensors")
    factor = scale * config["lora_alpha"] / config["r"]
    weights = dict(llm.named_parameters())
    for key in (key for key in tensors if key.endswith(".lora_A.weight")):
        name = key.removeprefix(PEFT_PREFIX).removesuffix(".lora_A.weight")
        weight = weights.get(f"{name}.weight")
        a, b = tensors[key], tensors.get(key.replace(".lora_A.", ".lora_B."))
        if weight is None or b is None or weight.shape != (b.shape[0], a.shape[1]) or a.shape[0] != b.shape[1]:
            raise StoreError(
                f"{adapter.name}: the adapter of {name} does not fit the backbone; restore the checkpoint."
            )
        # The sum is taken in float32 at least, the product on the CPU: the same bits everywhere it runs.
        exact = torch.promote_types(weight.dtype, torch.float32)
        product = factor * (b.to(exact) @ a.to(exact))  # (out, in)
        weight.copy_(weight.to(exact) + product.to(weight.device))


def load_connector(connector: nn.Module, path: Path) -> None:
    """Fill a connector from its file. Raises StoreError that names what does not fit."""
    tensors = _read(path)
    wanted = {name: tuple(value.shape) for name, value in connector.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if wanted != found:
        odd = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise StoreError(
            f"Connector {path.stem}: {odd} does not fit this modality's connector; restore the checkpoint."
        )
    connector.load_state_dict(tensors)


def save_connectors(connectors: Mapping[str, nn.Module], folder: Path, dtype: torch.dtype | None = None) -> None:
    """One safetensors file a connector; parameters in `dtype`, buffers as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, connector in connectors.items():
        trained = {key for key, _ in connector.named_parameters()}
        state = connector.state_dict()
        save_file(
            {k: _as(v, dtype if k in trained else None) for k, v in state.items()}, folder / f"{name}.safetensors"
        )


def encoders(modalities: Sequence[Modality], embedder: Embedder) -> dict[str, str]:
    """The identity of each modality's encoder, for the manifest."""
    return {modality.name: embedder.encoder(modality.name).identity for modality in modalities}


def _as(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    return value.detach().to("cpu", dtype or value.dtype).contiguous()


def _read(path: Path) -> dict[str, Any]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else "damaged"
        raise StoreError(f"{path.name} is {reason}; restore the checkpoint.") from None
