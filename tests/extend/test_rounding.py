"""Products with frozen weights in bfloat16: nearly the same gradients, the same weights, and gone afterwards."""

import pytest
import torch
from torch import Tensor

from extend import rounding
from extend.adapter import Adapter
from extend.recipe import Lora, Machine
from extend.rounding import rounded
from modalities.assemble import assemble
from modalities.checkpoint import Store
from modalities.mllm import MLLM
from tests.extend.test_machine import samples, trained


def gradients(model: MLLM, store: Store, wanted: bool) -> list[Tensor]:
    """Of the LoRA's B's: its A's have none yet."""
    torch.manual_seed(0)
    with Adapter(model.llm, Lora(rank=4, alpha=8)) as adapter, rounded(model.llm, wanted):
        model.loss(samples(store)).backward()
        return [p.grad for p in adapter.parameters if p.grad is not None and p.grad.norm() > 0]


def test_gradients_are_float32_and_nearly_the_exact_ones(pico_store: Store) -> None:
    model = assemble(pico_store, pico_store.load(pico_store.ids()[0]))
    weights = {name: value.clone() for name, value in model.llm.state_dict().items()}
    exact, quick = (gradients(model, pico_store, wanted) for wanted in (False, True))
    assert exact
    assert {one.dtype for one in quick} == {torch.float32}
    flat, near = (torch.cat([one.flatten() for one in grads]) for grads in (exact, quick))
    assert not torch.equal(near, flat), "nothing was rounded"
    assert torch.nn.functional.cosine_similarity(near, flat, dim=0) > 0.999
    assert near.norm().item() == pytest.approx(flat.norm().item(), rel=0.02)
    for name, value in model.llm.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_afterwards_products_are_exact_again(pico_store: Store) -> None:
    model = assemble(pico_store, pico_store.load(pico_store.ids()[0]))
    with torch.no_grad():
        before = model.loss(samples(pico_store))
        with rounded(model.llm, True):
            assert not torch.equal(model.loss(samples(pico_store)), before)
        with pytest.raises(ZeroDivisionError), rounded(model.llm, True):
            raise ZeroDivisionError
        assert torch.equal(model.loss(samples(pico_store)), before)


def test_without_the_instructions_or_the_wish_training_is_exact(
    pico_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = trained(pico_store, Machine())
    monkeypatch.setattr("extend.train.multiplies_bfloat16", lambda: True)
    assert torch.equal(trained(pico_store, Machine()), exact)
    assert not torch.equal(trained(pico_store, Machine(rounded=True)), exact)
    monkeypatch.setattr("extend.train.multiplies_bfloat16", lambda: False)
    assert torch.equal(trained(pico_store, Machine(rounded=True)), exact)


def test_whether_there_are_instructions_is_read_from_the_cpu() -> None:
    with open("/proc/cpuinfo") as file:
        flags = set(file.read().split())
    assert rounding.multiplies_bfloat16() == bool(flags & {"amx_bf16", "avx512_bf16"})
