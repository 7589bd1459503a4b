"""Less memory, the same training: bites, recomputation, half precision."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from extend import RunError, run
from extend.machine import accelerated, parts, within
from extend.recipe import Machine, Recipe
from extend.train import train
from modalities.assemble import assemble, bare, fold
from modalities.base import Sample, find
from modalities.checkpoint import Store
from tests import pico
from tests.extend.recipes import VALUES


def samples(store: Store) -> list[Sample]:
    """Eight captions and eight questions: answers of several lengths."""
    return [sample for dataset in find("tests.toy.tone").datasets(store.root) for sample in dataset.train[:8]]


def trained(store: Store, machine: Machine) -> Tensor:
    model = assemble(store, store.load(store.ids()[0]))
    connector = model.embedder.connectors["tone"]
    groups = [(list(connector.parameters()), 1e-2)]
    train(model, "align", samples(store), groups, batch=16, epochs=3, warmup=0.0, seed=0, machine=machine)
    assert not model.llm.training
    return torch.cat([value.flatten() for value in connector.state_dict().values()])


def test_bites_and_recomputation_train_what_the_whole_batch_trains(pico_store: Store) -> None:
    whole = trained(pico_store, Machine())
    assert torch.allclose(trained(pico_store, Machine(checkpointing=True)), whole, atol=1e-6)
    assert torch.allclose(trained(pico_store, Machine(micro=4)), whole, atol=1e-6)
    assert torch.allclose(trained(pico_store, Machine(tokens=60)), whole, atol=1e-6)
    assert torch.allclose(trained(pico_store, Machine(tokens=1, micro=8)), whole, atol=1e-6)


def test_parts_hold_every_sample_once() -> None:
    assert parts([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5]]
    assert parts([1, 2], None) == [[1, 2]]


def test_bites_within_a_limit_cut_no_group() -> None:
    assert within([[1, 2], [3], [4], [5, 6, 7]], [4, 3, 3, 9], limit=7) == [[1, 2, 3], [4], [5, 6, 7]]
    assert within([[1], [2]], [5, 5], limit=10) == [[1, 2]]


def test_a_run_in_bfloat16_makes_a_checkpoint_that_serves_in_float32(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    pico.backbone(store.assets / "pico")
    recipe = Recipe.model_validate(VALUES | {"machine": {"precision": "bfloat16", "checkpointing": True, "micro": 8}})
    made = run.add(store, "tests.toy.tone", recipe, parent=None)
    model = assemble(store, store.load(made.id))
    assert model.llm.dtype == torch.float32
    test = [sample for one in find("tests.toy.tone").datasets(store.root) for sample in one.test]
    blank = bare(store, "pico", None)
    torch.manual_seed(0)
    blank.embedder.add(find("tests.toy.tone"))
    with torch.no_grad():
        assert model.loss(test) < 0.9 * blank.loss(test)


def test_a_delta_is_folded_into_half_precision_with_one_rounding(pico_store: Store, tmp_path: Path) -> None:
    pico.adapter(tmp_path / "delta", seed=5)
    exact, half = bare(pico_store, "pico", None).llm, bare(pico_store, "pico", None).llm.bfloat16()
    start = {name: value.clone() for name, value in half.state_dict().items()}
    plain = {name: value.clone() for name, value in exact.state_dict().items()}
    fold(exact, tmp_path / "delta", 0.5)
    fold(half, tmp_path / "delta", 0.5)
    for name, value in half.state_dict().items():
        wanted = start[name].float() + (exact.state_dict()[name] - plain[name])
        assert torch.allclose(value.float(), wanted, rtol=2**-8, atol=1e-6)


def test_float16_without_a_gpu_is_refused_with_the_cure() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU, which trains in float16: nothing is refused")
    with pytest.raises(RunError, match="set machine.precision to bfloat16"):
        accelerated(Machine(precision="float16"))
