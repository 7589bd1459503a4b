"""Adapter-in-Adapter (PathWeave; Yu et al. 2024): modules beside the LLM's linear layers, which never fold into them.

Stage m puts beside each layer a new adapter A_m, an in-adapter F_k inside each adapter of the stages before, which
stay as they were, and a gate over all of them:

    y ← y + Σ_{k<m} g_k(x) · B_k F_k A_k x + g_m(x) · B_m A_m x,    g(x) = softmax(x G)

F, B_m and G begin as zeros, so nothing changes at first. The gate makes it depend on x: no sum of weights equals it,
and every stage costs time at every token. This file knows no training and no modality.

Shapes: in and out = a layer's columns and rows, r = an adapter's rank.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from modalities.checkpoint import Checkpoint, Store, StoreError
from modalities.deltas import LowRank, read_delta, read_tensors

FILE = "woven.safetensors"


class Strand(nn.Module):
    """What one stage puts beside one layer."""

    def __init__(self, width: int, out: int, rank: int, before: Sequence[int], like: Tensor) -> None:
        """`before` are the ranks of the adapters that are there already, `like` a tensor of the layer."""
        super().__init__()
        self.a = nn.Parameter(like.new_empty(rank, width))
        self.b = nn.Parameter(like.new_zeros(out, rank))
        self.inner = nn.ParameterList(nn.Parameter(like.new_zeros(r, r)) for r in before)
        self.gate = nn.Parameter(like.new_zeros(width, len(before) + 1))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)  # as PEFT begins a LoRA

    def forward(self, x: Tensor, downs: Sequence[Tensor], ups: Sequence[Tensor]) -> Tensor:
        """What is added to y; `downs` are A_k x (…, r) and `ups` B_k (out, r) of the adapters before."""
        gates = (x @ self.gate).softmax(-1)[..., None]  # (…, m, 1)
        added = gates[..., -1, :] * nn.functional.linear(nn.functional.linear(x, self.a), self.b)  # (…, out)
        for place, (down, up, inner) in enumerate(zip(downs, ups, self.inner, strict=True)):
            added = added + gates[..., place, :] * nn.functional.linear(nn.functional.linear(down, inner), up)
        return added


class Woven(nn.Module):
    """A linear layer with strands beside it; `first` are the adapters that were folded into its weight."""

    def __init__(self, base: nn.Linear, first: Sequence[LowRank]) -> None:
        super().__init__()
        self.base = base
        self.first = len(first)
        for place, one in enumerate(first):  # buffers, so that they move with the model
            self.register_buffer(f"down{place}", one.a.to(base.weight), persistent=False)  # (r, in)
            self.register_buffer(f"up{place}", one.factor * one.b.to(base.weight), persistent=False)  # (out, r)
        self.strands = nn.ModuleList()

    def grow(self, rank: int) -> Strand:
        """One more strand, that changes nothing yet."""
        before = [len(one) for one in self._kept("down")] + [len(one.a) for one in self._strands()]
        strand = Strand(self.base.in_features, self.base.out_features, rank, before, self.base.weight.detach())
        self.strands.append(strand)
        return strand

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x)
        downs = [nn.functional.linear(x, a) for a in self._kept("down")]  # (…, r) each
        ups = self._kept("up")  # (out, r) each
        for strand in self._strands():
            out = out + strand(x, downs, ups)
            downs.append(nn.functional.linear(x, strand.a))
            ups.append(strand.b)
        return out

    def _kept(self, name: str) -> list[Tensor]:
        return [self.get_buffer(f"{name}{place}") for place in range(self.first)]

    def _strands(self) -> list[Strand]:
        return [one for one in self.strands if isinstance(one, Strand)]


def open_layers(llm: Any, deltas: Iterable[Path] = ()) -> dict[str, Woven]:
    """Every linear layer but the head as a Woven, by name; those that are plain so far become one, in place.

    `deltas` are the adapters folded already, at their full size: the first that strands reach into.
    """
    folded = [read_delta(delta, 1.0) for delta in deltas]
    head = llm.get_output_embeddings()
    plain = [(name, module) for name, module in llm.named_modules() if type(module) is nn.Linear and module is not head]
    for name, module in plain:
        parent, _, leaf = name.rpartition(".")
        if not isinstance(owner := llm.get_submodule(parent), Woven):
            first = [delta[f"{name}.weight"] for delta in folded if f"{name}.weight" in delta]
            setattr(owner, leaf, Woven(module, first))
    return {name: module for name, module in llm.named_modules() if isinstance(module, Woven)}


def close_layers(llm: Any) -> None:
    """Take the outermost strand off each layer; a layer without one is plain again."""
    for name, woven in open_layers(llm).items():
        del woven.strands[-1]
        if len(woven.strands) == 0:
            parent, _, leaf = name.rpartition(".")
            setattr(llm.get_submodule(parent), leaf, woven.base)


def save_strands(llm: Any, folder: Path, dtype: torch.dtype) -> None:
    """The outermost strand of each layer."""
    state = {
        f"{name}.{key}": value.detach().to("cpu", dtype).contiguous()
        for name, woven in open_layers(llm).items()
        for key, value in woven.strands[-1].state_dict().items()
    }
    folder.mkdir(parents=True)
    save_file(dict(sorted(state.items())), folder / FILE)


def weave(llm: Any, folders: Iterable[Path], deltas: Iterable[Path] = ()) -> None:
    """Put saved strands beside the layers, in the order in which they were learned. Raises StoreError."""
    layers = open_layers(llm, deltas)
    for folder in folders:
        tensors = read_tensors(folder / FILE)
        for name, woven in layers.items():
            mine = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
            try:
                strand = woven.grow(len(mine["a"]))
                strand.load_state_dict(mine)
            except (KeyError, RuntimeError):
                raise StoreError(f"{folder.name}: the modules of {name} do not fit; restore the checkpoint.") from None
            strand.requires_grad_(False)


def woven_folders(store: Store, checkpoint: Checkpoint) -> list[Path]:
    """The folders of a checkpoint that hold strands, in learning order."""
    found = sorted(
        name.removesuffix(f"/{FILE}") for name in checkpoint.files if re.fullmatch(rf"llm/[^/]+/{FILE}", name)
    )
    return [store.folder(checkpoint.id) / name for name in found]


def refuse(store: Store, checkpoint: Checkpoint, what: str, cure: str) -> None:
    """Raises StoreError when a checkpoint has modules that `what` cannot take."""
    if woven_folders(store, checkpoint):
        raise StoreError(
            f"{checkpoint.id} was made by {checkpoint.method}, whose modules stay inside the LLM; {what} cannot take "
            f"them: {cure}"
        )
