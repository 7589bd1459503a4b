"""Δ on disk -> Δ added to weights: a PEFT adapter's products, summed in float32, in the manifest's order.

θ_i = θ_0 + Σ scale_k·Δ_k (paper §4.1), and the same list always gives the same bits, whoever adds it up: the
loader, the trainer, or an engine's worker while requests run. It knows no model class.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from modalities.checkpoint import StoreError

PREFIX = "base_model.model."  # of PEFT's names


@dataclass(frozen=True, slots=True)
class LowRank:
    """One weight's share of a delta: `factor` · B·A, with A (r, in) and B (out, r)."""

    a: Tensor
    b: Tensor
    factor: float

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in), the weight's shape."""
        return self.b.shape[0], self.a.shape[1]


def read_delta(adapter: Path, scale: float) -> dict[str, LowRank]:
    """A PEFT adapter folder by the names of the weights that it changes ("model.layers.0.….weight").

    `factor` is scale · alpha/r. Raises StoreError when the folder is damaged.
    """
    config = read_config(adapter)
    factor = scale * config["lora_alpha"] / config["r"]
    tensors = read_tensors(adapter / "adapter_model.safetensors")
    delta = {}
    for key in (key for key in tensors if key.endswith(".lora_A.weight")):
        a, b = tensors[key], tensors.get(key.replace(".lora_A.", ".lora_B."))
        name = key.removeprefix(PREFIX).replace(".lora_A.weight", ".weight")
        if b is None or a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise misfit(adapter, name)
        delta[name] = LowRank(a, b, factor)
    return delta


def added(weight: Tensor, parts: Iterable[LowRank]) -> Tensor:
    """weight + Σ factor·B·A, each product on the CPU and each sum in float32 at least; the weight stays as it is."""
    exact = torch.promote_types(weight.dtype, torch.float32)
    total = weight.to(exact)
    for part in parts:
        product = part.factor * (part.b.to(exact) @ part.a.to(exact))  # (out, in)
        total = total + product.to(total.device)
    return total


def difference(deltas: Iterable[Mapping[str, LowRank]]) -> dict[str, LowRank]:
    """A sum of deltas as one: A's stacked, B's side by side with the factors in them, (out, Σr) · (Σr, in)."""
    parts: dict[str, list[LowRank]] = {}
    for delta in deltas:
        for name, part in delta.items():
            parts.setdefault(name, []).append(part)
    return {
        name: LowRank(
            torch.cat([one.a.float() for one in many]), torch.cat([one.factor * one.b.float() for one in many], 1), 1.0
        )
        for name, many in parts.items()
    }


def read_config(adapter: Path) -> dict[str, Any]:
    """adapter_config.json. Raises StoreError when it is not whole."""
    try:
        config: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_bytes())
    except (OSError, ValueError):
        raise StoreError(f"{adapter.name}: adapter_config.json is damaged; restore the checkpoint.") from None
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file. Raises StoreError that says whether it is missing or damaged."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else "damaged"
        raise StoreError(f"{path.name} is {reason}; restore the checkpoint.") from None


def read_one(folder: Path, name: str) -> Tensor:
    """One tensor of a Hugging Face folder, from whichever of its safetensors files holds it. Raises StoreError."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            if name in file.keys():  # noqa: SIM118 - it is no mapping
                found: Tensor = file.get_tensor(name)
                return found
    raise StoreError(f"The backbone has no weight {name!r}; fetch it whole.")


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a Hugging Face folder, from its files' headers."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    return found


def misfit(adapter: Path, weight: str) -> StoreError:
    """The adapter does not belong to this backbone."""
    name = weight.removesuffix(".weight")
    return StoreError(f"{adapter.name}: the adapter of {name} does not fit the backbone; restore the checkpoint.")
