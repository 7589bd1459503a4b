"""`python -m eval` as a user runs it: one JSON object on standard output, one line for a wrong use, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eval.__main__ import main
from modalities.checkpoint import Store
from tests import pico

ROOT = Path(__file__).parent.parent.parent
PAPER = Path(__file__).with_name("paper_tables.json")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return pico.store(tmp_path_factory.mktemp("home") / "store")


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "eval", *arguments]
    return subprocess.run(run, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment, check=False)


def lenient(folder: Path) -> Path:
    """A policy without a floor for text, of which random deltas leave nothing."""
    (folder / "gate.toml").write_text("text = 0\n")
    return folder / "gate.toml"


def wrong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a wrong use says; it is one line on standard error, and exit code 2."""
    monkeypatch.setattr(sys, "argv", ["eval", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("eval: ")
    assert err.count("\n") == 1
    return err


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that succeeds prints on standard output."""
    monkeypatch.setattr(sys, "argv", ["eval", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0
    return capsys.readouterr().out


def test_run_then_show_from_the_environments_store(
    home: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = command("run", "live", "--limit", "4", "--json", POLYMERA_STORE=str(home.root))
    assert run.returncode == 0, run.stderr  # to measure is not to judge: only `extend gate` exits with 1
    report = json.loads(run.stdout)
    assert report["checkpoint"] == home.live()
    assert report["counts"] == {"tone-caption": 4, "tone-qa": 4}
    assert "tone-qa, blind" in run.stderr  # the progress bars
    store = ["--store", str(home.root)]
    assert json.loads(said(monkeypatch, capsys, "show", "--json", *store)) == report
    assert said(monkeypatch, capsys, "show", str(home.live()), *store).startswith(f"# {home.live()}\n")
    # The same command again needs no model: it says the same as before, now as a page.
    assert said(monkeypatch, capsys, "run", "live", "--limit", "4", *store).startswith(f"# {home.live()}\n")


def test_gain_prints_the_papers_table_as_one_json_object() -> None:
    run = command("gain", str(PAPER), "--json")
    assert (run.returncode, run.stderr) == (0, "")
    rows = json.loads(run.stdout)
    assert round(rows["sequential"]["MERA (10%)"]["mean"], 2) == 101.00
    assert rows["reverse"]["MERA (10%)"].keys() >= {"stages", "mean", "std", "worst", "worst_modality"}


def test_gain_says_what_the_gate_would_make_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = said(monkeypatch, capsys, "gain", str(PAPER), "--gate")
    assert "MERA (10%): NO-GO. pointcloud stands at 77.97% of its expert" in page
    rows = json.loads(said(monkeypatch, capsys, "gain", str(PAPER), "--gate", "--json"))
    assert rows["reverse"]["MERA (10%)"]["decision"] == "NO-GO"
    (tmp_path / "mean.toml").write_text("aggregate = 0.95\nmodality = 0\ndataset = 0\nforward = 0\n")
    mean = ["--gate", "--policy", str(tmp_path / "mean.toml"), "--json"]
    rows = json.loads(said(monkeypatch, capsys, "gain", str(PAPER), *mean))
    assert rows["reverse"]["MERA (10%)"]["decision"] == "GO", "A gate on the mean would ship it."


def test_compare_and_mcub_print_a_page_or_json(
    home: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = ["--store", str(home.root)]
    said(monkeypatch, capsys, "run", "live", "--limit", "4", "--policy", str(lenient(tmp_path)), *store)
    page = said(monkeypatch, capsys, "compare", "live", "live", *store)
    assert page.startswith(f"{home.live()} against {home.live()}\ntone, tone-caption: ")
    assert json.loads(said(monkeypatch, capsys, "compare", "live", "live", "--json", *store))["rows"][0]["n"] == 4
    file = tmp_path / "choices.jsonl"
    (tmp_path / "1.tone").write_bytes(pico.tone(1))
    item = {"id": "1", "media": {"tone": "1.tone"}, "question": "Which?", "options": list("wxyz"), "answer": "A"}
    file.write_text(json.dumps(item))
    assert "of 1 right" in said(monkeypatch, capsys, "mcub", str(file), *store)
    assert json.loads(said(monkeypatch, capsys, "mcub", str(file), "--json", *store))["n"] == 1


def test_plain_makes_a_backbones_answers_anew(
    home: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "plain.json"
    assert said(monkeypatch, capsys, "plain", "--backbone", "pico", "--out", str(out), "--store", str(home.root)) == ""
    assert len(json.loads(out.read_text())["answers"]) > 200


def test_gain_prints_a_table_for_people(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "MERA (10%)     100.00    88.03" in said(monkeypatch, capsys, "gain", str(PAPER))


def test_probe_prints_accuracy_majority_and_number(
    home: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["probe", "tests.toy.tone", "pitch", "--store", str(home.root)]
    made = json.loads(said(monkeypatch, capsys, *ask, "--json"))
    assert made == {
        "modality": "tone", "topic": "pitch", "accuracy": 1.0, "majority": pytest.approx(1 / 3), "n": 24
    }  # fmt: skip
    assert said(monkeypatch, capsys, *ask) == "tone, pitch: 1.000 of 24 (always the commonest: 0.333)\n"


def test_what_is_not_in_the_store_is_exit_code_2(
    home: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", str(home.root)]
    assert f"it has: {home.live()}" in wrong(monkeypatch, capsys, "run", "0009-none", *store)
    assert "No modality 'smell'" in wrong(monkeypatch, capsys, "probe", "smell", "class", *store)
    assert "it has: pitch" in wrong(monkeypatch, capsys, "probe", "tests.toy.tone", "smell", *store)
    assert "no policy file 'x.toml'" in wrong(monkeypatch, capsys, "run", "live", "--policy", "x.toml", *store)
    assert "no judge file 'x.toml'" in wrong(monkeypatch, capsys, "run", "live", "--judge", "x.toml", *store)
    assert "name it with --judge FILE" in wrong(monkeypatch, capsys, "run", "live", "--replay", *store)
    assert "no UTF-8 file 'x.jsonl'" in wrong(monkeypatch, capsys, "mcub", "x.jsonl", *store)
    assert "No engine 'warp'" in wrong(monkeypatch, capsys, "run", "live", "--engine", "warp", *store)
    assert "There is no file 'none.json'" in wrong(monkeypatch, capsys, "gain", "none.json")
    empty = ["--store", str(tmp_path)]
    assert "No checkpoint is live; name one: there is none yet" in wrong(monkeypatch, capsys, "show", *empty)


def test_a_wrong_option_is_exit_code_2() -> None:
    assert command("run", "live", "--limit", "0").returncode == 2


def test_a_fault_of_ours_is_not_sold_as_a_wrong_use(home: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.folder(str(home.live())) / "report.json").write_bytes(b"\xff")
    monkeypatch.setattr("eval.report.parse", lambda data, _: data.decode())
    monkeypatch.setattr(sys, "argv", ["eval", "show", "--store", str(home.root)])
    with pytest.raises(UnicodeDecodeError):
        main()
