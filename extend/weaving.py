"""Adapter-in-Adapter while it is trained: strands beside the linear layers, saved, taken off. It knows no modality."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from extend.adapter import STORED
from extend.recipe import Lora
from modalities.woven import Strand, close_layers, open_layers, save_strands


class Weaving:
    """New strands that are beside the LLM's layers inside a `with` block and gone after it."""

    def __init__(self, llm: Any, settings: Lora, deltas: Sequence[Path]) -> None:
        """`deltas` are the folders of the adapters that are folded in the LLM."""
        self._llm = llm
        self._rank = settings.rank
        self._deltas = deltas
        self._strands: list[Strand] = []

    def __enter__(self) -> Self:
        layers = open_layers(self._llm, self._deltas).values()
        self._strands = [layer.grow(self._rank) for layer in layers]
        for parameter in self.parameters:  # what is trained stays exact where the backbone is not
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        close_layers(self._llm)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The new adapters, in-adapters and gates."""
        return [parameter for strand in self._strands for parameter in strand.parameters()]

    def save(self, folder: Path) -> None:
        """One safetensors file."""
        save_strands(self._llm, folder, STORED)
