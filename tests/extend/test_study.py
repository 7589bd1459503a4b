"""The study: what it asks for, that it goes on where it was killed, and that its figures are the paper's."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.gain import read_tables, table
from extend import RunError, run
from extend import __main__ as command
from extend.methods import methods
from extend.recipe import load
from extend.study.conduct import available
from extend.study.figures import draw
from extend.study.grid import Grid, Study, Work, open_study
from extend.study.results import DRAWS, Results, Run, draws, figure
from extend.study.tables import page
from extend.study.variant import variant
from extend.study.written import as_tables
from modalities.checkpoint import Store
from tests import pico
from tests.extend.recipes import PICO, TOML

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "tests" / "eval" / "paper_tables.json"
TONE, PULSE = "tests.toy.tone", "tests.toy.pulse"


class TestVariant:
    def test_a_method_s_options_are_read_from_its_name(self) -> None:
        found = variant("mera@0.01+noise=0.5+sweep=depth+worst")
        recipe = found.recipe(PICO)
        assert (found.method, recipe.replay) == ("mera", 0.01)
        assert (recipe.options.noise, recipe.options.sweep, recipe.options.worst) == (0.5, "depth", True)
        assert recipe.options.realign is None
        assert not found.plain

    def test_the_replay_method_s_share_and_that_of_realigning_are_apart(self) -> None:
        recipe = variant("replay@0.01+realign").recipe(PICO)
        assert (recipe.replay, recipe.options.realign) == (0.01, 0.1), "Table 5 realigns on 10 %, whatever is replayed."

    def test_every_method_is_one(self) -> None:
        assert [variant(name).method for name in methods()] == methods()

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("magic", "No method 'magic'"),
            ("mera@ten", "is no method; write NAME"),
            ("mera+fast", "is no method; write NAME"),
            ("mera+noise=2", "is no method; write NAME"),
            ("eproj+realign", "its LLM never moves"),
            ("ewc@0.1", "ewc replays nothing"),
        ],
    )
    def test_what_is_none_is_refused_with_the_cure(self, text: str, why: str) -> None:
        with pytest.raises(RunError, match=why):
            variant(text)


def settings(**changes: Any) -> Study:
    usual = Study(modalities=(TONE, PULSE), recipe=PICO, limit=None, diagnose=True, threads=1)
    return usual.model_copy(update=changes)


class TestGrid:
    def test_first_stages_are_the_experts_but_of_a_method_that_tunes_no_llm(self, pico_store: Store) -> None:
        grid = Grid(pico_store.root, settings())
        for text in ("mera@0.01", "ewc", "pathweave", "finetune+realign"):
            first = grid.chain(0, grid.order("reverse"), text)[0]
            assert (grid.method(first), grid.recipe(first)) == ("finetune", PICO.model_copy(update={"seed": 0}))
        assert grid.method(grid.chain(0, grid.order("reverse"), "eproj")[0]) == "eproj"
        assert grid.order("reverse") == (PULSE, TONE)

    def test_a_folder_holds_one_study_and_shares_the_encoder_cache(self, pico_store: Store, tmp_path: Path) -> None:
        grid = open_study(tmp_path / "out", pico_store, settings(), (0, 1))
        for seed in (0, 1):
            assert grid.store(seed).features.samefile(pico_store.features)
            assert grid.store(seed).assets.samefile(pico_store.assets)
            assert not grid.store(seed).ids()
        open_study(tmp_path / "out", pico_store, settings(), (2,))
        with pytest.raises(RunError, match="holds a study with other settings; choose another --out"):
            open_study(tmp_path / "out", pico_store, settings(limit=3), (0,))

    def test_what_the_store_holds_is_found_again_by_what_made_it(self, pico_store: Store, tmp_path: Path) -> None:
        recipe = PICO.model_copy(update={"tune": PICO.tune.model_copy(update={"epochs": 1})})
        grid = open_study(tmp_path / "out", pico_store, settings(recipe=recipe), (3,))
        one, two = grid.chain(3, grid.order("sequential"), "merge")
        assert grid.made(one) is None
        with pytest.raises(RunError, match="is not made yet"):
            grid.parent(two)
        first = run.add(grid.store(3), TONE, grid.recipe(one), parent=None, method=grid.method(one))
        assert grid.made(one) == grid.parent(two) == first.id
        assert grid.made(replace(one, variant="mera")) == first.id, "Every method starts from it."
        second = run.add(grid.store(3), PULSE, grid.recipe(two), parent=first.id, method=grid.method(two))
        assert grid.made(two) == second.id
        assert grid.made(replace(two, variant="mera")) is None
        assert not grid.done(two), "It is not measured yet."

    def test_a_user_s_folder_stands_in_for_a_modality_s_own_data(self, pico_store: Store, tmp_path: Path) -> None:
        grid = Grid(tmp_path, settings(data={"pulse": "my-pulses-1"}))
        first, second = grid.chain(0, grid.order("sequential"), "mera")
        assert (grid.data(first), grid.data(second)) == (None, "my-pulses-1")


def paper_results() -> Results:
    """The paper's raw scores as a study's results, every draw the same."""
    raw = read_tables(PAPER)
    runs = []
    for order in raw.root.values():
        for method, stages in order.methods.items():
            made = Run(0, order.order, NAMES.get(method, method))
            for i, scores in sorted(stages.items()):
                gains = order.gains(scores, i)
                made.scores.append(dict(scores))
                made.gains.append(
                    {name: np.full(1 + DRAWS, gain) for name, gain in zip(order.order, gains, strict=False)}
                )
                made.costs.append({"seconds": 1.0, "cpu_seconds": 2.0, "peak_bytes": 3e6})
                made.diagnosis.append({})
            runs.append(made)
    some = next(iter(raw.root.values()))
    return Results(runs, dict(some.datasets), {0: dict(some.experts)}, {})


NAMES = {
    "Fine-Tuning": "finetune", "Replay (1%)": "replay@0.01", "Replay (10%)": "replay@0.1", "EWC": "ewc",
    "EProj": "eproj", "PathWeave": "pathweave", "MERA (1%)": "mera@0.01", "MERA (10%)": "mera@0.1",
}  # fmt: skip


class TestResults:
    def test_from_the_paper_s_raw_scores_comes_the_paper_s_table_2(self) -> None:
        results = paper_results()
        assert set(results.variants) == set(NAMES.values()), "tests/eval/paper_tables.json names its methods otherwise."
        expected = table(read_tables(PAPER))
        for order, rows in zip(results.orders, expected.values(), strict=True):
            for method, row in rows.items():
                mean, std = results.mean(order, NAMES[method]), results.std(order, NAMES[method])
                worst = results.worst(order, NAMES[method])
                assert mean is not None
                assert std is not None
                assert worst is not None
                assert 100 * mean.value == pytest.approx(row["mean"])
                assert 100 * std.value == pytest.approx(row["std"])
                assert worst[0] == row["worst_modality"]
                assert 100 * worst[1].value == pytest.approx(row["worst"])

    def test_one_seed_s_scores_are_what_eval_gain_reads(self, tmp_path: Path) -> None:
        file = tmp_path / "scores.json"
        file.write_text(json.dumps(as_tables(paper_results(), 0)))
        found, expected = table(read_tables(file)), table(read_tables(PAPER))
        assert [row["mean"] for rows in found.values() for row in rows.values()] == pytest.approx(
            [row["mean"] for rows in expected.values() for row in rows.values()]
        )

    def test_the_first_draw_is_the_items_as_they_are_and_all_are_the_same_for_everyone(self) -> None:
        weights = draws("tone-qa", 24)
        assert weights.shape == (1 + DRAWS, 24)
        assert (weights[0] == 1).all()
        assert (weights.sum(1) == 24).all()
        assert weights is draws("tone-qa", 24)
        assert (weights[1:] != draws("tone-caption", 24)[1:]).any()

    def test_an_interval_is_where_95_percent_of_the_draws_lie(self) -> None:
        found = figure(np.concatenate([[0.5], np.linspace(0, 1, DRAWS)]))
        assert found is not None
        assert [found.value, found.low, found.high] == pytest.approx([0.5, 0.025, 0.975])
        assert figure(None) is None

    def test_the_page_has_the_paper_s_tables_and_marks_transfer(self, tmp_path: Path) -> None:
        results = paper_results()
        text = page(results, "extend study", "how")
        assert "| mera@0.1 | 101.00 [101.0, 101.0] | 3.90 |" in text, "Table 2"
        assert "mera@0.01 is ahead of ewc in 100.0% of the draws" in text
        assert "↑" in text
        assert "↗" in text
        assert "Table 7" not in text, "Nothing was run with noise."
        assert [path.read_bytes()[:4] for path in draw(results, tmp_path)] == [b"\x89PNG", b"\x89PNG"]

    def test_a_modality_without_an_expert_is_unscored_and_not_zero(self) -> None:
        results = paper_results()
        one = next(run for run in results.runs if run.variant == "ewc")
        one.gains[-1][one.order[0]] = None
        assert results.mean(one.order, "ewc") is None
        assert results.worst(one.order, "ewc") is None
        assert "| ewc | – | – | – |" in page(results, "extend study", "how")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    pico.backbone(folder / "store" / "assets" / "pico")
    (folder / "pico.toml").write_text(TOML)
    return folder


def words(home: Path, out: Path) -> list[str]:
    options = ["--methods", "mera", "--orders", "sequential", "--jobs", "1", "--out", str(out), "--json"]
    return ["study", TONE, PULSE, *options, "--recipe", str(home / "pico.toml"), "--store", str(home / "store")]


def start(home: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "extend", *words(home, out)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def children(pid: int) -> list[int]:
    found = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(path) == pid]
    return found + [one for child in found for one in children(child)]


def _parent(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def test_a_killed_study_goes_on_and_ends_with_the_same_numbers(home: Path, tmp_path: Path) -> None:
    """kill -9 while the second stage is trained; another study that nobody stopped stands beside it."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    out, err = start(home, whole).communicate(timeout=900)
    assert json.loads(out)["runs"] == 1, err.decode()

    process = start(home, killed)
    deadline = time.monotonic() + 900
    expert, begun = "seed-0/experts/pulse/report.json", "seed-0/work/pulse-*/warm/done.json"
    while not ((killed / expert).exists() and list(killed.glob(begun))) and time.monotonic() < deadline:
        assert process.poll() is None, "It was not killed in time to prove anything."
        time.sleep(0.01)
    workers = children(process.pid)
    assert workers, "Its work is done in processes of their own."
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers), "No work goes on without the study."
    assert not (killed / "results.json").exists()
    kept = list(killed.glob("seed-0/checkpoints/*/checkpoint.json"))
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert before

    out, err = start(home, killed).communicate(timeout=900)
    assert json.loads(out)["runs"] == 1, err.decode()
    assert {path: path.stat().st_mtime_ns for path in before} == before, "What was made is not made again."
    one, two = (json.loads((folder / "results.json").read_text()) for folder in (whole, killed))
    for found in (one, two):
        for row in found["runs"]:
            del row["costs"]
        del found["serving"]
    assert one == two

    text = (killed / "results.md").read_text()
    assert "## Table 2" in text
    assert "## Table 6" in text
    assert "python -m eval gain" not in text
    assert one["runs"][0]["diagnosis"][1].keys() == {"tone"}
    reports = [json.loads(path.read_text()) for path in killed.glob("seed-0/checkpoints/0002-*/report.json")]
    assert [change["modality"] for change in reports[0]["diagnosis"]] == ["tone"]
    shown = subprocess.run(
        [sys.executable, "-m", "eval", "show", reports[0]["checkpoint"], "--store", str(killed / "seed-0")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "## What the stage did to older modalities" in shown
    assert any(f"**tone is {kind}**" in shown for kind in ("kept", "misaligned", "forgotten"))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (["--methods", "magic"], "No method 'magic'"),
        (["--orders", "sideways"], "No order 'sideways'; there are: sequential, reverse"),
        (["--seeds", "one"], "'one' is no list of seeds"),
        (["--methods", ","], "Name at least one method"),
        (["--data", "image=mine"], "'image=mine' names no folder of a modality of this study; write MODALITY=DIR"),
    ],
)
def test_a_wrong_study_is_refused_before_anything_starts(
    home: Path, tmp_path: Path, changed: list[str], why: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["extend", *words(home, tmp_path / "out"), *changed])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert (stop.value.code, why in capsys.readouterr().err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_memory_bounds_the_processes() -> None:
    assert 0 < available() < 1 << 50
    assert os.cpu_count()
    assert load("embedded").base_llm
    assert Work("stage", 0, (TONE, PULSE), "mera@0.1", 1).label == "stage-0-mera@0.1-tone"
