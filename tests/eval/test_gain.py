"""The paper's measures: its Table 2 from its Tables 11 and 12, and what must hold of any scores."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval import EvalError
from eval.gain import Tables, backward, forward, read_tables, relative_gain, table, text

PAPER = Path(__file__).with_name("paper_tables.json")

# Table 2: mean and standard deviation of the Backward Relative Gains of all stages.
TABLE_2 = {
    "sequential": {
        "Fine-Tuning": (59.76, 27.23),
        "Replay (1%)": (66.09, 25.86),
        "Replay (10%)": (77.52, 16.32),
        "EWC": (74.93, 17.14),
        "EProj": (89.61, 2.63),
        "PathWeave": (86.85, 12.17),
        "MERA (1%)": (97.90, 6.02),
        "MERA (10%)": (101.00, 3.90),
    },
    "reverse": {
        "Fine-Tuning": (48.96, 35.70),
        "Replay (1%)": (43.95, 39.03),
        "Replay (10%)": (51.90, 36.34),
        "EWC": (68.01, 21.54),
        "EProj": (70.07, 11.86),
        "PathWeave": (80.09, 13.31),
        "MERA (1%)": (84.42, 12.93),
        "MERA (10%)": (93.42, 6.25),
    },
}
ROWS = [(order, method, *figures) for order, methods in TABLE_2.items() for method, figures in methods.items()]


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    return table(read_tables(PAPER))


@pytest.mark.parametrize(("order", "method", "mean", "std"), ROWS)
def test_each_row_of_table_2_follows_from_the_raw_scores(
    paper: dict[str, Any], order: str, method: str, mean: float, std: float
) -> None:
    row = paper[order][method]
    assert (f"{row['mean']:.2f}", f"{row['std']:.2f}") == (f"{mean:.2f}", f"{std:.2f}")
    assert len(row["stages"]) == 4


def test_the_table_has_exactly_the_papers_rows(paper: dict[str, Any]) -> None:
    assert {order: list(methods) for order, methods in paper.items()} == {o: list(m) for o, m in TABLE_2.items()}


def test_the_headline_is_the_mean_of_both_orders_and_hides_the_worst_modality(paper: dict[str, Any]) -> None:
    last = [paper[order]["MERA (10%)"]["stages"][-1] for order in TABLE_2]
    assert f"{sum(last) / 2:.2f}" == "99.84"
    row = paper["reverse"]["MERA (10%)"]
    assert (f"{row['worst']:.2f}", row["worst_modality"]) == ("77.97", "pointcloud")


def test_stage_1_is_100_but_for_eproj_its_own_value(paper: dict[str, Any]) -> None:
    first = {(order, method): row["stages"][0] for order, rows in paper.items() for method, row in rows.items()}
    assert first.pop(("sequential", "EProj")) == pytest.approx(87.35, abs=0.005)
    assert first.pop(("reverse", "EProj")) == pytest.approx(60.04, abs=0.005)
    assert set(first.values()) == {100.0}


def test_a_dataset_that_the_last_stage_lacks_is_named(paper: dict[str, Any]) -> None:
    assert paper["sequential"]["EWC"]["missing"] == ["Cap3D-QA"]
    assert "no score of Cap3D-QA" in text(paper)


def test_an_expert_measured_against_itself_gains_exactly_one() -> None:
    scores = {"cap": 100.76, "qa": 0.358}
    assert relative_gain(scores, scores) == 1.0


def test_relative_gain_is_blind_to_the_scale_of_a_dataset() -> None:
    one = relative_gain({"cap": 50.0, "qa": 0.2}, {"cap": 100.0, "qa": 0.5})
    assert one == pytest.approx(relative_gain({"cap": 0.5, "qa": 20.0}, {"cap": 1.0, "qa": 50.0}))
    assert one == pytest.approx(0.45)


def test_backward_leaves_the_newest_out_and_forward_is_the_newest() -> None:
    assert backward([0.9, 0.7, 123.0]) == pytest.approx(0.8)
    assert forward([0.9, 0.7, 1.1]) == 1.1


def test_the_first_stage_has_nothing_to_forget() -> None:
    assert backward([0.3]) == 1.0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda order: order.update(colour="red"), "Extra inputs are not permitted"),
        (lambda order: order["experts"].pop("OK-VQA"), "the dataset 'OK-VQA' has no expert"),
        (lambda order: order["experts"].update({"OK-VQA": 0}), "greater than 0"),
        (lambda order: order["datasets"].pop("video"), "the modality 'video' has no datasets"),
        (lambda order: order["methods"]["EWC"].pop("3"), "'EWC' must have the stages 1 … 4"),
        (lambda order: order["methods"]["EWC"]["1"].update(MSVD=1.0), "scores 'MSVD' at stage 1"),
        (lambda order: order["methods"]["EWC"]["4"].pop("Cap3D"), "no score of 'pointcloud' at stage 4"),
        (lambda order: order["methods"]["EWC"]["4"].update(Cap3D="many"), "valid number"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(change: Any, complaint: str, tmp_path: Path) -> None:
    raw = json.loads(PAPER.read_text())
    change(raw["sequential"])
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(raw))
    with pytest.raises(EvalError) as error:
        read_tables(file)
    assert complaint in str(error.value)
    assert str(error.value).startswith("mine.json, sequential")
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("content", ["{}", "[1]", "{not json", ""])
def test_a_file_that_is_no_table_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(EvalError, match=r"^mine\.json, "):
        read_tables(tmp_path / "mine.json")


def test_one_stage_alone_has_no_spread() -> None:
    one = Tables.model_validate(
        {"o": {"order": ["a"], "datasets": {"a": ["d"]}, "experts": {"d": 2}, "methods": {"M": {"1": {"d": 1}}}}}
    )
    assert table(one)["o"]["M"] == {
        "stages": [50.0], "mean": 50.0, "std": 0.0, "worst": 50.0, "worst_modality": "a", "missing": []
    }  # fmt: skip


def test_the_readable_table_is_aligned(paper: dict[str, Any]) -> None:
    block = text(paper).split("\n\n")[1].splitlines()
    assert block[0] == "reverse: Backward Relative Gain in per cent"
    rows = block[2:10]
    assert len(rows) == 8
    assert len({row.rindex(".") for row in rows}) == 1
    assert " ".join(rows[-1].split()) == "MERA (10%) 100.00 88.03 88.13 97.52 93.42 6.25 77.97 pointcloud"
