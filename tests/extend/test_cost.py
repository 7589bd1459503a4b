"""The plan: what it counts, what it refuses, and how far it is from a real step."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from extend import RunError
from extend import __main__ as command
from extend.plan import memory, plan, read, shape_of
from extend.recipe import Machine, Recipe, load
from modalities.checkpoint import Store
from tests import pico

ROOT = Path(__file__).parents[2]


def with_machine(**settings: object) -> Recipe:
    return load("paper").model_copy(update={"machine": Machine.model_validate(settings)})


@pytest.mark.parametrize("words", ["512 8 4 256", "1024 16 4 128", "768 12 4 256 --checkpointing"])
def test_the_estimate_is_within_15_percent_of_a_real_step(words: str) -> None:
    """Rows of docs/paper.md: Llamas of 36M, 235M and 105M, each in a process of its own."""
    step = [sys.executable, "-m", "tests.extend.stepping", *words.split()]
    found = json.loads(subprocess.run(step, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    assert found["estimate"] == pytest.approx(found["measured"], rel=0.15)


def test_the_paper_s_recipe_fits_its_gpu_and_takes_about_its_hours(tmp_path: Path) -> None:
    costs = plan(tmp_path, load("paper"), "paper")
    assert [cost.name for cost in costs] == ["image", "video", "audio", "pointcloud"]
    assert 16e9 < max(cost.peak for cost in costs) < 48e9
    assert all(cost.weights == pytest.approx(2 * 8.03e9, rel=0.01) for cost in costs)
    plain = plan(tmp_path, with_machine(precision="float16", micro=4), "paper")
    assert sum(cost.seconds for cost in plain) / 3600 == pytest.approx(61, rel=0.15), "Table 6: MERA (10%)"
    assert max(c.peak for c in costs) < max(c.peak for c in plain), "Recomputation saves memory,"
    assert costs[0].seconds > plain[0].seconds, "and costs time."


def test_seeing_more_of_the_new_modality_again_costs_time_in_every_stage_but_the_first(tmp_path: Path) -> None:
    as_replayed, all_of_it = (
        [cost.seconds for cost in plan(tmp_path, load("paper", fresh=share), "paper")] for share in (0.1, 1.0)
    )
    paper = [cost.seconds for cost in plan(tmp_path, load("paper"), "paper")]
    assert as_replayed == pytest.approx(paper), "A tenth of the new one is what replaying a tenth of all shows."
    assert all_of_it[0] == paper[0]
    assert all(more > less for more, less in zip(all_of_it[1:], paper[1:], strict=True))


def test_memory_grows_with_what_it_depends_on() -> None:
    config = LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=2, vocab_size=100
    )
    small = memory(config, with_machine(), 2, 32, 8)
    assert memory(config, with_machine(), 4, 32, 8)["activations"] > 1.5 * small["activations"]
    assert memory(config, with_machine(precision="bfloat16"), 2, 32, 8)["weights"] == small["weights"] / 2
    assert small["params"] == sum(value.numel() for value in _llama(config).parameters())


def _llama(config: LlamaConfig) -> LlamaForCausalLM:
    model: LlamaForCausalLM = LlamaForCausalLM(config)
    return model


def test_a_backbone_that_is_here_is_planned_with_its_own_shape(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pico.backbone(store.assets / "pico")
    assert shape_of(tmp_path, "pico", read("paper")[0]).hidden_size == pico.WIDTH
    with pytest.raises(RunError, match="No backbone 'none'"):
        shape_of(tmp_path, "none", {})


def test_a_plan_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[[stages]]\nname = 3\n")
    with pytest.raises(RunError, match=r"mine\.toml cannot be read"):
        read(str(tmp_path / "mine.toml"))
    with pytest.raises(RunError, match="shipped are paper"):
        read("nothing")


@pytest.mark.parametrize(("gigabytes", "code"), [("48", 0), ("12", 1)])
def test_the_command_prints_it_and_refuses_what_cannot_fit(
    tmp_path: Path, gigabytes: str, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["extend", "plan", "--recipe", "paper", "--memory", gigabytes, "--store", str(tmp_path), "--json"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        command.main()
    out, err = capsys.readouterr()
    assert (stop.value.code or 0) == code
    assert json.loads(out)["fits"] == (code == 0)
    assert ("do not fit into 12.0 GB; lower machine.micro" in err) == (code == 1)
    assert "pointcloud" in err
