"""From a checkpoint to a running model: base LLM, deltas folded in order, connectors.

The fold is the merge of paper §4.1: θ_i = θ_0 + Σ scale_k·Δ_k, added in float32 in the manifest's order, so that
the same list always gives the same bits. It knows neither training nor serving.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from modalities.backbone import backbone
from modalities.base import Modality, find
from modalities.checkpoint import Checkpoint, Store, StoreError
from modalities.deltas import added, misfit, read_delta, read_one, read_tensors
from modalities.embedder import Common, Embedder, load_tokenizer
from modalities.features import Features
from modalities.mllm import MLLM
from modalities.woven import weave, woven_folders


def assemble(store: Store, checkpoint: Checkpoint) -> MLLM:
    """The model of a checkpoint, frozen, in float32. Raises StoreError when a file does not fit."""
    model = folded(store, checkpoint)
    if strands := woven_folders(store, checkpoint):
        weave(model.llm, strands, [store.folder(checkpoint.id) / delta.path for delta in checkpoint.deltas])
    _join(store, checkpoint, model.embedder)
    return model.eval().requires_grad_(False)


def senses(store: Store, checkpoint: Checkpoint, common: Common, features: Features, recent: int = 0) -> Embedder:
    """All of a checkpoint that comes before the LLM, over what it shares with others on its backbone."""
    embedder = Embedder(common, system=checkpoint.system, features=features, recent=recent)
    _join(store, checkpoint, embedder)
    return embedder.eval().requires_grad_(False)


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
    table = cast(nn.Embedding, llm.get_input_embeddings())
    common = _common(store, folder, table, llm.config.max_position_embeddings)
    return MLLM(llm, Embedder(common, system=system)).eval().requires_grad_(False)


def common(store: Store, base_llm: str) -> Common:
    """What checkpoints on a backbone share, the embedding table in float32; no layer is read."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = backbone(store.root, base_llm)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with init_empty_weights():
        shell = AutoModelForCausalLM.from_config(config)
    found = next(name for name, module in shell.named_modules() if module is shell.get_input_embeddings())
    table = nn.Embedding.from_pretrained(read_one(folder, f"{found}.weight").float())
    return _common(store, folder, table, config.get_text_config().max_position_embeddings)


def _common(store: Store, folder: Path, table: nn.Embedding, context: int) -> Common:
    return Common(load_tokenizer(folder), table, context, lambda modality: modality.encoder(store.root))


def _join(store: Store, checkpoint: Checkpoint, embedder: Embedder) -> None:
    """The checkpoint's modalities, each with its connector. Raises StoreError when something does not fit."""
    for name in checkpoint.modalities:
        modality = find(name)
        connector = embedder.add(modality)
        trained_with, here = checkpoint.encoders[modality.name], embedder.encoder(modality.name).identity
        if trained_with != here:
            raise StoreError(
                f"{checkpoint.id} was trained with encoder {trained_with} for {modality.name}, here is {here}; "
                "use the version of the modality that made it."
            )
        load_connector(connector, store.folder(checkpoint.id) / "connectors" / f"{modality.name}.safetensors")


@torch.no_grad()
def fold(llm: nn.Module, adapter: Path, scale: float) -> None:
    """W += scale · (alpha/r) · B·A for every linear layer of a PEFT adapter, in place, in the weights' dtype."""
    weights = dict(llm.named_parameters())
    for name, part in read_delta(adapter, scale).items():
        weight = weights.get(name)
        if weight is None or weight.shape != part.shape:
            raise misfit(adapter, name)
        weight.copy_(added(weight, [part]))


def load_connector(connector: nn.Module, path: Path) -> None:
    """Fill a connector from its file. Raises StoreError that names what does not fit."""
    tensors = read_tensors(path)
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
