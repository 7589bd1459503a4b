"""Weights and inputs that are a function of their name: the same here and where a reference was run (docs/paper.md).

Beside it, golden/ holds each published checkpoint's keys with their shapes, and what the reference made of the input.
"""

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"
Shapes = Mapping[str, list[int]]


def shapes(name: str, layers: int | None = None) -> dict[str, list[int]]:
    """The published keys; only those of the first `layers` where that is given."""
    found: dict[str, list[int]] = json.loads((FOLDER / f"{name}.json").read_text())
    return {key: shape for key, shape in found.items() if layers is None or _layer(key) < layers}


def weights(wanted: Shapes) -> dict[str, Tensor]:
    """Random numbers, seeded by each key's own name, at the loudness of a network that was just made."""
    return {name: _draw(name, shape) for name, shape in wanted.items()}


def outputs(name: str) -> dict[str, Tensor]:
    """What the reference made of it."""
    return load_file(FOLDER / f"{name}.safetensors")


def _draw(name: str, shape: list[int]) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    values: NDArray[np.floating] = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    values *= 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
    if name.endswith(("running_var", "weight_g")):
        values = np.abs(values) + 0.5
    elif len(shape) == 1 and name.endswith("weight"):
        values = values + 1
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def _layer(key: str) -> int:
    found = re.search(r"(?:layers?|blocks)\.(\d+)\.", key)
    return int(found[1]) if found else 0
