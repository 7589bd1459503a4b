"""The gate: what it lets through, what it blocks and in which words, and when it says that nobody knows."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval import EvalError
from eval.gate import DEFAULT, gate, read_policy
from eval.report import Policy, Report, measure

PAPER = json.loads(Path(__file__).with_name("paper_tables.json").read_text())


def report_of(scores: dict[str, dict[str, float]], experts: dict[str, dict[str, float]], **changes: Any) -> Report:
    """A report of a checkpoint that has learned the modalities of `scores`, in this order."""
    datasets: Any = {j: {k: "qa" if "qa" in k.lower() else "caption" for k in names} for j, names in scores.items()}
    made = Report(
        checkpoint="0002-b-mera-12345678",
        stage=len(scores),
        method="mera",
        modalities=tuple(scores),
        datasets=datasets,
        scores=scores,
        blind={},
        experts=experts,
        expert_of={},
        unscored={j: f"it has no expert; make one: extend expert {j}" for j in scores if j not in experts},
        counts={},
        items={},
        predictions={},
        topics={},
        gains=measure(datasets, scores, experts),
        examples=(),
        judge="normalised exact match",
        seed=0,
        limit=None,
        engine="transformers",
        versions={},
    )
    return made.model_copy(update=changes)


def image_and(image: float, newest: float | None = None) -> Report:
    """Image, learned first, at this share of its expert; and a newer modality, with or without an expert."""
    scores = {"image": {"cap": 100 * image, "qa": 0.5 * image}, "newest": {"new-qa": newest or 0.3}}
    experts = {"image": {"cap": 100.0, "qa": 0.5}} | ({"newest": {"new-qa": 1.0}} if newest else {})
    return report_of(scores, experts)


def test_a_checkpoint_that_keeps_what_it_knew_may_go() -> None:
    verdict = gate(image_and(0.97, 0.93), Policy())
    assert verdict.decision == "GO"
    assert "97.00%" in verdict.reasons[0]
    assert "newest at 93.00%" in verdict.reasons[1]


def test_a_low_average_of_the_older_modalities_blocks() -> None:
    verdict = gate(image_and(0.94, 1.2), Policy())
    assert verdict.decision == "NO-GO"
    assert "94.00%" in verdict.reasons[0]
    assert "95.00%" in verdict.reasons[0]


def test_one_low_modality_blocks_under_a_fine_average_and_is_named_with_its_dataset() -> None:
    scores = {"a": {"a-cap": 130.0}, "b": {"b-cap": 90.0, "b-qa": 0.4}, "c": {"c-qa": 0.5}}
    experts = {"a": {"a-cap": 100.0}, "b": {"b-cap": 100.0, "b-qa": 0.5}, "c": {"c-qa": 0.5}}
    report = report_of(scores, experts)
    assert report.gains.backward is not None
    assert report.gains.backward > 1.0
    verdict = gate(report, Policy())
    assert verdict.decision == "NO-GO"
    assert verdict.reasons[0].startswith("b stands at 85.00% of its expert (lowest dataset: b-qa at 80.00%)")


def test_the_newest_modality_can_be_the_worst() -> None:
    verdict = gate(image_and(1.0, 0.5), Policy())
    assert verdict.decision == "NO-GO"
    assert "newest stands at 50.00%" in verdict.reasons[0]


def test_a_newest_modality_without_an_expert_is_listed_with_the_cure_and_blocks_nothing() -> None:
    verdict = gate(image_and(1.0), Policy())
    assert verdict.decision == "GO"
    assert "Unscored, newest: it has no expert; make one: extend expert newest" in verdict.reasons


def test_an_older_modality_without_an_expert_makes_it_inconclusive() -> None:
    scores = {"image": {"cap": 90.0}, "audio": {"aud": 0.9}, "newest": {"new": 1.0}}
    verdict = gate(report_of(scores, {"audio": {"aud": 1.0}, "newest": {"new": 1.0}}), Policy())
    assert verdict.decision == "INCONCLUSIVE"
    assert verdict.reasons[0].startswith("image is unscored")
    assert any("extend expert image" in reason for reason in verdict.reasons)


def test_an_older_modality_with_one_unscored_dataset_is_not_scored_by_the_other() -> None:
    report = report_of({"image": {"cap": 99.0}, "b": {"qa": 1.0}}, {"image": {"cap": 100.0}, "b": {"qa": 1.0}})
    datasets: Any = {"image": {"cap": "caption", "qa-1": "qa"}, "b": {"qa": "qa"}}
    gains = measure(datasets, report.scores, report.experts)
    verdict = gate(report.model_copy(update={"datasets": datasets, "gains": gains}), Policy())
    assert verdict.decision == "INCONCLUSIVE"


def test_what_is_known_to_be_too_low_blocks_even_when_something_else_is_unknown() -> None:
    scores = {"image": {"cap": 90.0}, "audio": {"aud": 0.2}, "newest": {"new": 1.0}}
    verdict = gate(report_of(scores, {"audio": {"aud": 1.0}}), Policy())
    assert verdict.decision == "NO-GO"
    assert "audio stands at 20.00%" in verdict.reasons[0]


def test_the_first_stage_has_nothing_to_forget() -> None:
    alone = {"image": {"cap": 70.0}}
    assert gate(report_of(alone, alone), Policy()).decision == "GO"
    assert gate(report_of(alone, {}), Policy()).decision == "GO"


def test_a_share_that_is_exactly_the_threshold_passes() -> None:
    scores, experts = {"a": {"k": 95.0}, "b": {"l": 90.0}}, {"a": {"k": 100.0}, "b": {"l": 100.0}}
    assert gate(report_of(scores, experts), Policy()).decision == "GO"


def test_a_subset_is_said_to_be_one() -> None:
    verdict = gate(image_and(1.0).model_copy(update={"limit": 20}), Policy())
    assert any("subset of 20 items" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("method", ["MERA (10%)", "MERA (1%)", "PathWeave"])
def test_the_papers_reverse_run_is_blocked_by_point_clouds(method: str) -> None:
    order = PAPER["reverse"]
    last = order["methods"][method]["4"]
    scores = {j: {k: last[k] for k in order["datasets"][j] if k in last} for j in order["order"]}
    experts = {j: {k: order["experts"][k] for k in order["datasets"][j]} for j in order["order"]}
    report = report_of(scores, experts)
    verdict = gate(report, Policy())
    assert verdict.decision == "NO-GO"
    assert any(reason.startswith("pointcloud stands at") for reason in verdict.reasons)
    if method == "MERA (10%)":
        assert f"{report.gains.backward:.4f}" == "0.9752"  # which a gate on the mean would have shipped
        assert verdict.reasons[0].startswith("pointcloud stands at 77.97% of its expert (lowest dataset: Cap3D-QA")


def test_the_shipped_policy_is_the_default() -> None:
    assert read_policy(DEFAULT) == Policy() == Policy(backward=0.95, worst=0.90)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("backwards = 0.9", "unknown key 'backwards'; known: backward, worst"),
        ("[gate]\nworst = 0.9", "unknown key 'gate'"),
        ("worst = 90", "worst = 90 is no share of an expert's score; write 0.95 for 95 %"),
        ("worst = '0.9'", "worst = '0.9' is no share"),
        ("worst = true", "worst = True is no share"),
        ("worst = nan", "worst = nan is no share"),
        ("worst = -0.1", "worst = -0.1 is no share"),
        ("worst 0.9", "is not TOML"),
        ("worst = 0.9\nworst = 0.8", "is not TOML"),
    ],
)
def test_a_policy_is_read_strictly(content: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(content)
    with pytest.raises(EvalError) as error:
        read_policy(file)
    assert str(error.value).startswith("mine.toml")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_a_policy_of_ones_own_changes_the_verdict(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("worst = 0.5\n")
    policy = read_policy(file)
    assert policy == Policy(backward=0.95, worst=0.5)
    assert gate(image_and(1.0, 0.6), Policy()).decision == "NO-GO"
    verdict = gate(image_and(1.0, 0.6), policy)
    assert (verdict.decision, verdict.policy) == ("GO", policy)


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"no policy file 'none\.toml'; the shipped one is eval/gate\.toml"):
        read_policy(tmp_path / "none.toml")
