"""EWC's two formulas (paper, Appendix C.3): the Fisher information's diagonal, and the penalty. It knows no modality.

Both are over the weights that LoRA changes, not over its factors: each stage's LoRA is a new one, so factors of two
stages have nothing in common, while θ_i - θ_{i-1} = B·A is the same however it is written. The price is a number for
every weight: 0.2 GB for the shipped backbone, 14 GB for an 8B one, where the paper's Table 6 has 1.3 GB.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

from extend.adapter import Adapter
from modalities.base import Sample
from modalities.mllm import MLLM

STORED = torch.bfloat16  # gradients squared are smaller than float16 can say


def fisher(model: MLLM, samples: Sequence[Sample]) -> dict[str, Tensor]:
    """E ∇L·∇Lᵀ over the samples, its diagonal, by the names of the weights (out, in)."""
    weights = linear_weights(model)
    found = {
        name: torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
        for name, weight in weights.items()
    }
    for weight in weights.values():
        weight.requires_grad_(True)
    try:
        for sample in tqdm(samples, desc="fisher", unit="sample"):
            gradients = torch.autograd.grad(model.loss([sample]), list(weights.values()), allow_unused=True)
            for name, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    found[name] += gradient.to(found[name].dtype).square() / len(samples)
    finally:
        for weight in weights.values():
            weight.requires_grad_(False)
    return found


def linear_weights(model: MLLM) -> dict[str, Tensor]:
    """The weights of the LLM's linear layers, without the head: those that LoRA changes."""
    head = model.llm.get_output_embeddings()
    return {
        f"{name}.weight": module.weight
        for name, module in model.llm.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }


def penalty(adapter: Adapter, importance: Mapping[str, Tensor], strength: float = 1.0) -> Tensor:
    """λ/2 · Σ F ⊙ (θ_i - θ_{i-1})², a scalar; `importance` is Σ_j F_j."""
    total = [
        # B·A is as large as the weight: it is made again in the backward pass, not kept.
        checkpoint(_layer, a, b, importance[name].to(a.device), use_reentrant=False)
        for name, a, b in adapter.pairs()
        if name in importance
    ]
    return strength / 2 * torch.stack(total).sum()


def _layer(a: Tensor, b: Tensor, importance: Tensor) -> Tensor:
    return (importance.to(a.dtype) * (b @ a).square()).sum()
