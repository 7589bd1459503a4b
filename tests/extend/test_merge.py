"""The merge is the paper's average (§4.1), exactly, and it is the same each time it is rebuilt."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from modalities.assemble import bare, fold
from modalities.checkpoint import Store
from tests import pico

PROMPT = torch.tensor([[1, 40, 50, 60, 70, 80, 90, 100]])


def load(store: Store, dtype: torch.dtype) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(store.assets / "pico", dtype=dtype)


def logits(llm: nn.Module) -> Tensor:
    with torch.no_grad():
        out: Tensor = llm(input_ids=PROMPT).logits.double()
    return out


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_the_folded_llm_equals_the_full_weight_average_in_float64(
    pico_store: Store, tmp_path: Path, stages: int
) -> None:
    adapters = [tmp_path / f"{number}" for number in range(1, stages + 1)]
    for number, adapter in enumerate(adapters, start=1):
        pico.adapter(adapter, seed=number)

    # The definition, with full weights: train from θ_{i-1}, then average it with what came out.
    theta = load(pico_store, torch.float64)
    for i, adapter in enumerate(adapters, start=1):
        vanilla = load(pico_store, torch.float64)
        vanilla.load_state_dict(theta.state_dict())
        vanilla = PeftModel.from_pretrained(vanilla, str(adapter)).merge_and_unload()
        before, after = theta.state_dict(), vanilla.state_dict()
        theta.load_state_dict({k: (i - 1) / i * before[k] + 1 / i * after[k] for k in before})

    folded = bare(pico_store, "pico", None).llm
    for i, adapter in enumerate(adapters, start=1):
        fold(folded, adapter, 1 / i)
    assert (logits(folded) - logits(theta)).abs().max() < 1e-4
    assert (logits(folded) - logits(load(pico_store, torch.float64))).abs().max() > 0.1, "The deltas changed nothing."


def test_plain_fine_tuning_is_the_fold_with_scale_one(pico_store: Store, tmp_path: Path) -> None:
    pico.adapter(tmp_path / "delta", seed=3)
    folded = bare(pico_store, "pico", None).llm
    fold(folded, tmp_path / "delta", 1.0)
    reference = PeftModel.from_pretrained(load(pico_store, torch.float64), str(tmp_path / "delta"))
    assert (logits(folded) - logits(reference)).abs().max() < 1e-4


def test_the_same_list_gives_the_same_bits(pico_store: Store, tmp_path: Path) -> None:
    pico.adapter(tmp_path / "a", seed=1)
    pico.adapter(tmp_path / "b", seed=2)
    models = []
    for _ in range(2):
        llm = bare(pico_store, "pico", None).llm
        fold(llm, tmp_path / "a", 1.0)
        fold(llm, tmp_path / "b", 0.5)
        models.append(llm.state_dict())
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])
