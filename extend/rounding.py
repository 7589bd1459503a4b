"""Products with frozen weights in bfloat16, where the CPU has instructions for them; all else stays float32.

Two thirds of a step are such products; AMX and AVX-512 do them two to three times as fast. Weights and activations
are rounded on their way into a product only, so gradients of what is trained stay float32. It knows no phase.

Shapes: in and out = a weight's columns and rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

INSTRUCTIONS = {"amx_bf16", "avx512_bf16"}


def multiplies_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware: AMX (Intel), AVX-512 BF16 (AMD and Intel)."""
    return not INSTRUCTIONS.isdisjoint(name for name, there in torch.cpu.get_capabilities().items() if there)


@contextmanager
def rounded(llm: Any, wanted: bool) -> Iterator[None]:
    """Inside, the frozen linear layers below the head multiply in bfloat16. The weights themselves stay as they are.

    The head is left out: a logit of 20 would be rounded by up to 0.06, which a loss feels.
    """
    modules = llm.base_model.modules() if wanted else ()
    linears = [one for one in modules if type(one) is nn.Linear and not one.weight.requires_grad]
    for linear in linears:
        linear.forward = partial(_linear, linear.weight.bfloat16(), linear.bias)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for linear in linears:
            linear.__dict__.pop("forward", None)


def _linear(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    product: Tensor = _Product.apply(x, weight)  # type: ignore[no-untyped-call]
    return product if bias is None else product + bias


class _Product(torch.autograd.Function):
    """x (…, in) times a frozen weight (out, in), transposed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return nn.functional.linear(x.to(weight.dtype), weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return (grad.to(weight.dtype) @ weight).to(grad.dtype), None
