"""A whole run on the pico model: what each phase moves, what it leaves alone, and what a kill costs."""

import json
import multiprocessing
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from extend import RunError, run, steps
from extend.data import StageData, draw
from extend.stage import Stage
from modalities.assemble import assemble, bare
from modalities.base import Modality, find
from modalities.checkpoint import Checkpoint, Store
from modalities.mllm import MLLM
from modalities.userdata import keep
from tests import pico
from tests.extend.recipes import PICO

TONE, PULSE = "tests.toy.tone", "tests.toy.pulse"
SERVER = multiprocessing.get_context("forkserver")  # torch is imported once, and no thread is forked away
SERVER.set_forkserver_preload(["extend.run", "extend.methods.mera", "transformers.models.llama", "tests.toy.pulse"])


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    pico.backbone(store.assets / "pico")
    return store


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, str]:
    store = Store(tmp_path_factory.mktemp("taught") / "store")
    pico.backbone(store.assets / "pico")
    first = run.add(store, TONE, PICO, parent=None)
    second = run.add(store, PULSE, PICO, parent=first.id)
    return store, first.id, second.id


def bits(model: MLLM) -> dict[str, Tensor]:
    encoders = {
        f"encoder.{name}.{k}": v
        for name, e in model.embedder.common.encoders.items()
        for k, v in e.state_dict().items()
    }
    return {name: value.clone() for name, value in model.state_dict().items()} | encoders


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {
        name.rpartition(".")[0] for name in after if name not in before or not torch.equal(before[name], after[name])
    }


@pytest.fixture
def second_stage(taught: tuple[Store, str, str], tmp_path: Path) -> Stage:
    store, first, _ = taught
    model = assemble(store, store.load(first))
    tone, pulse = find(TONE), find(PULSE)
    old, new = (tuple(s for d in m.datasets(store.root) for s in d.train) for m in (tone, pulse))
    return Stage(2, model, pulse, StageData(new, (old,)), PICO, tmp_path / "work")


def test_each_phase_moves_what_the_paper_says_and_nothing_else(second_stage: Stage) -> None:
    stage, model = second_stage, second_stage.model
    start = bits(model)

    steps.align(stage)
    aligned = bits(model)
    assert moved(start, aligned) <= {f"embedder.connectors.pulse{part}" for part in ("", ".inner", ".outer", ".norm")}
    assert moved(start, aligned)

    steps.tune(stage, stage.data.new)
    tuned = bits(model)
    assert all(name.startswith("embedder.connectors.pulse") for name in moved(aligned, tuned))
    assert moved(aligned, tuned), "The connector is tuned with the LLM."
    assert stage.delta is not None

    steps.fold(stage, scale=1 / stage.index)
    folded = bits(model)
    assert moved(tuned, folded)
    assert all("_proj" in name for name in moved(tuned, folded)), "Only the LLM's linear layers are merged."

    steps.realign(stage)
    realigned = bits(model)
    changed = moved(folded, realigned)
    assert {"embedder.connectors.pulse.inner", "embedder.connectors.tone.inner"} <= changed
    assert all(name.startswith("embedder.connectors.") for name in changed), "The LLM is frozen while realigning."


def test_realigning_sees_again_what_tuning_saw_of_the_new_modality(second_stage: Stage) -> None:
    tuned = second_stage.recipe.tune.model_copy(update={"share": 0.5, "epochs": 1})
    second_stage.recipe = second_stage.recipe.model_copy(update={"fresh": 0.5, "tune": tuned})
    steps.align(second_stage)
    steps.tune(second_stage, second_stage.data.new)
    steps.fold(second_stage, scale=1 / 2)
    steps.realign(second_stage)
    shown = {curve.phase: curve.samples for curve in second_stage.curves}
    old = len(draw(second_stage.data.old[0], second_stage.recipe.replay, second_stage.recipe.seed))
    assert shown["tune"] == pytest.approx(0.5 * len(second_stage.data.new), abs=4)
    assert shown["realign"] - old == pytest.approx(0.5 * shown["tune"], abs=4)


def test_a_run_leaves_its_figures_and_a_picture_beside_the_checkpoint(taught: tuple[Store, str, str]) -> None:
    store, first, second = taught
    figures = json.loads((store.folder(second) / "run.json").read_text())
    assert [phase["phase"] for phase in figures["phases"]] == ["warm start", "align", "tune", "realign"]
    assert all(phase["losses"] and phase["seconds"] > 0 for phase in figures["phases"])
    assert (store.folder(second) / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not list(store.work.iterdir()), "A finished run leaves no work behind."
    assert store.load(second).parent == first


def test_a_stage_keeps_its_parents_deltas_byte_for_byte(taught: tuple[Store, str, str]) -> None:
    store, first, second = taught
    mother, daughter = store.load(first), store.load(second)
    assert daughter.deltas[: len(mother.deltas)] == mother.deltas
    assert [delta.scale for delta in daughter.deltas] == [1.0, 0.5]
    for name in (name for name in mother.files if name.startswith("llm/")):
        assert daughter.files[name] == mother.files[name]
        assert (store.folder(first) / name).samefile(store.folder(second) / name), "The same bytes are stored once."


def test_training_lowers_the_loss(taught: tuple[Store, str, str]) -> None:
    store, first, _ = taught
    samples = [sample for one in find(TONE).datasets(store.root) for sample in one.test]
    blank = bare(store, "pico", None)
    torch.manual_seed(0)
    blank.embedder.add(find(TONE))
    with torch.no_grad():
        assert assemble(store, store.load(first)).loss(samples) < 0.9 * blank.loss(samples)


def test_the_same_command_makes_the_same_checkpoint(taught: tuple[Store, str, str], empty: Store) -> None:
    assert run.add(empty, TONE, PICO, parent=None).id == taught[1]


def test_a_modality_is_not_taught_twice(taught: tuple[Store, str, str]) -> None:
    with pytest.raises(RunError, match="already knows tone"):
        run.add(taught[0], TONE, PICO, parent=taught[1])


def test_an_unknown_method_names_those_that_exist(empty: Store) -> None:
    with pytest.raises(RunError, match="finetune, mera"):
        run.add(empty, TONE, PICO, parent=None, method="magic")


def test_two_of_the_same_run_do_not_collide(empty: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from extend.methods import mera

    def run_again(stage: Stage) -> None:
        run.add(empty, TONE, PICO, parent=None)

    monkeypatch.setattr(mera, "run", run_again)
    with pytest.raises(RunError, match="already under way"):
        run.add(empty, TONE, PICO, parent=None)


def finished(work: Path) -> set[str]:
    return {path.parent.name for path in work.glob("*/*/done.json")}


@pytest.mark.parametrize("phase", ["warm", "align_connector", "tune", "realign_connectors"])
def test_a_killed_run_goes_on_and_ends_with_the_same_id(
    taught: tuple[Store, str, str], tmp_path: Path, phase: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """kill -9 as soon as a phase is on disk, while the next one runs."""
    store, first, second = taught
    copy = Store(tmp_path / "store")
    shutil.copytree(store.root, copy.root, ignore=shutil.ignore_patterns(second))

    process = SERVER.Process(target=run.add, args=(copy, PULSE, PICO), kwargs={"parent": first})
    process.start()
    deadline = time.monotonic() + 120
    while phase not in finished(copy.work) and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "It was not killed in time to prove anything."
    assert second not in copy.ids()
    done = finished(copy.work)
    assert phase in done

    capfd.readouterr()
    assert run.add(copy, PULSE, PICO, parent=first).id == second
    bars = capfd.readouterr().err
    for name, bar in {"warm": "warm start", "align_connector": "align", "tune": "tune"}.items():
        assert (f"\r{bar}:" in bars) == (name not in done), f"Resumed after {sorted(done)}; {name} is done once only."


def test_a_recipe_may_mix_in_questions_over_the_senses_known_so_far(empty: Store, tmp_path: Path) -> None:
    """With the later one's samples, replayed with them later on, and not where a user's own data stand in."""
    recipe = PICO.model_copy(update={"mixed": 0.5})
    first = run.add(empty, TONE, recipe, parent=None)
    tone, pulse = find(TONE), find(PULSE)

    def prepared(before: Checkpoint | None, modality: Modality, data: dict[str, str]) -> StageData:
        settings = run.settings_of(recipe, before, modality) | {"data": data}
        return run._prepare(empty, modality, recipe, before, settings, tmp_path).data

    own = len([sample for one in tone.datasets(empty.root) for sample in one.train])
    assert len(prepared(None, tone, {}).new) == own, "One sense alone has none."
    both = prepared(first, pulse, {})
    several = [sample for sample in both.new if len(sample.prompt) > 2]
    assert {part.modality for sample in several for part in sample.prompt} == {"tone", "pulse", "text"}
    assert 0.3 < len(several) / 240 < 0.7
    assert all(len(sample.prompt) == 2 for sample in both.old[0])
    mine = tmp_path / "mine"
    mine.mkdir()
    for split, file in (("train", "a.tone"), ("test", "b.tone")):
        (mine / file).write_bytes(pico.tone(len(split)))
        line = {"id": split, "task": "qa", "media": file, "question": "How high is it?", "answers": ["low"]}
        (mine / f"{split}.jsonl").write_text(json.dumps(line))
    kept = keep(empty, tone, mine)
    assert all(len(sample.prompt) == 2 for sample in prepared(first, pulse, {"tone": kept}).new)


def test_questions_over_several_senses_leave_the_older_connector_alone_until_realigning(empty: Store) -> None:
    recipe = PICO.model_copy(update={"mixed": 1.0})
    first = run.add(empty, TONE, recipe, parent=None)
    made = run.add(empty, PULSE, recipe, parent=first.id, method="finetune")
    before, after = (assemble(empty, empty.load(one.id)).embedder.connectors["tone"] for one in (first, made))
    assert not moved(before.state_dict(), after.state_dict())
    realigned = run.add(empty, PULSE, recipe, parent=first.id)
    assert moved(before.state_dict(), assemble(empty, realigned).embedder.connectors["tone"].state_dict())
