"""The gate: what it lets through, what it blocks and in which words, and when it says that nobody knows."""

from pathlib import Path
from typing import Any

import pytest

from eval.figures import bounds
from eval.gain import read_tables
from eval.gate import gate, more_items
from eval.report import Interval, Judging, Report, Weight, measure
from eval.tables import verdicts
from serving.policy import Policy

PAPER = Path(__file__).with_name("paper_tables.json")


def report_of(scores: dict[str, dict[str, float]], experts: dict[str, dict[str, float]], **changes: Any) -> Report:
    """A report of a checkpoint that has learned the modalities of `scores`, in this order; its figures are exact."""
    datasets: Any = {j: {k: "qa" if "qa" in k.lower() else "caption" for k in names} for j, names in scores.items()}
    pairs = {j: {k: ([scores[j][k]], [experts[j][k]]) for k in scores[j]} for j in scores if j in experts}
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
        counts={k: 100 for names in scores.values() for k in names},
        items={},
        predictions={},
        topics={},
        gains=measure(datasets, scores, experts),
        bounds=bounds(datasets, pairs, ([0.99], [1.0])),
        examples=(),
        judging=Judging(judge="normalised exact match"),
        tokenizer="",
        seed=0,
        limit=None,
        engine="transformers",
        versions={},
    )
    return made.model_copy(update=changes)


def unsure(value: float, spread: float, n: int = 300, dataset: str = "cap") -> Interval:
    """A figure whose bounds are `spread` away, over `n` items."""
    weight = Weight(dataset=dataset, n=n, variance=(spread / 1.645) ** 2)
    return Interval(value=value, lower=value - spread, upper=value + spread, weights=(weight,))


def image_and(image: float, newest: float | None = None) -> Report:
    """Image, learned first, at this share of its expert; and a newer modality, with or without an expert."""
    scores = {"image": {"cap": 100 * image, "qa": 0.5 * image}, "newest": {"new-qa": newest or 0.3}}
    experts = {"image": {"cap": 100.0, "qa": 0.5}} | ({"newest": {"new-qa": 1.0}} if newest else {})
    return report_of(scores, experts)


def test_a_checkpoint_that_keeps_what_it_knew_may_go() -> None:
    verdict = gate(image_and(0.97, 0.93), Policy())
    assert verdict.decision == "GO"
    assert verdict.reasons[0].startswith("The older modalities keep 97.00% of their experts' scores on average")
    assert "The lowest modality is newest at 93.00%" in verdict.reasons[1]
    assert verdict.reasons[-1].startswith("Plain text stands at 99.00%")
    assert {one.kind for one in verdict.checks} == {"aggregate", "modality", "dataset", "forward", "text"}
    assert (verdict.checkpoint, verdict.policy) == ("0002-b-mera-12345678", Policy())


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
    assert verdict.reasons[1].startswith("The dataset b-qa stands at 80.00% of its expert; the policy asks for 85.00%")


def test_a_capped_and_a_geometric_mean_do_not_let_a_gain_pay_for_a_loss() -> None:
    scores, experts = {"a": {"k": 1.5}, "b": {"l": 0.6}, "c": {"m": 1.0}}, {"a": {"k": 1}, "b": {"l": 1}, "c": {"m": 1}}
    found = report_of(scores, {j: dict.fromkeys(names, 1.0) for j, names in experts.items()}).bounds
    assert found.aggregate is not None
    assert found.capped is not None
    assert found.geometric is not None
    assert found.aggregate.value == pytest.approx(1.05)
    assert found.capped.value == pytest.approx(0.8)
    assert found.geometric.value == pytest.approx(0.9**0.5)


def test_plain_text_that_was_lost_blocks_and_says_by_how_much() -> None:
    report = report_of({"a": {"k": 1.0}}, {"a": {"k": 1.0}})
    lost = report.model_copy(update={"bounds": report.bounds.model_copy(update={"text": unsure(0.5, 0.01)})})
    verdict = gate(lost, Policy())
    assert verdict.decision == "NO-GO"
    assert "Plain text stands at 50.00%" in verdict.reasons[0]
    assert "is 100.0% above its own" in verdict.reasons[0]
    assert gate(lost, Policy(text=0.0)).decision == "GO"
    unknown = report.model_copy(update={"bounds": report.bounds.model_copy(update={"text": None})})
    assert gate(unknown, Policy()).decision == "INCONCLUSIVE"
    assert gate(unknown, Policy(text=0.0)).decision == "GO"


@pytest.mark.parametrize(
    ("value", "spread", "decision"), [(0.97, 0.01, "GO"), (0.93, 0.01, "NO-GO"), (0.96, 0.02, "INCONCLUSIVE")]
)
def test_bounds_decide_and_not_the_point(value: float, spread: float, decision: str) -> None:
    report = image_and(1.0, 1.0)
    changed = report.bounds.model_copy(update={"aggregate": unsure(value, spread)})
    verdict = gate(report.model_copy(update={"bounds": changed}), Policy())
    assert verdict.decision == decision
    if decision == "INCONCLUSIVE":
        assert "above 94.00%, and below 98.00%" in verdict.reasons[0]
        assert "it needs about 900 more items of cap" in verdict.reasons[0]
        assert verdict.checks[0].more == {"cap": 900}


def test_more_items_are_asked_for_where_they_help_most() -> None:
    one = unsure(0.96, 0.03).weights[0]
    small = one.model_copy(update={"dataset": "qa", "n": 80, "variance": one.variance / 100})
    both = Interval(value=0.96, lower=0.93, upper=0.99, weights=(one, small))
    more = more_items(both, 0.94)
    assert set(more) == {"cap"}
    assert 370 < more["cap"] < 400  # (3 / 2)^2 of 300, and a little for the other's share
    even = Interval(
        value=0.96, lower=0.93, upper=0.99, weights=(one, small.model_copy(update={"variance": one.variance}))
    )
    assert set(more_items(even, 0.94)) == {"cap", "qa"}
    assert more_items(both, 0.96) == {}


def test_who_stands_on_the_floor_is_told_that_items_do_not_help() -> None:
    report = image_and(1.0, 1.0)
    changed = report.bounds.model_copy(update={"aggregate": unsure(0.9501, 0.05)})
    verdict = gate(report.model_copy(update={"bounds": changed}), Policy())
    assert "too near that for any number of items to tell" in verdict.reasons[0]


def test_items_without_a_score_are_doubt_and_not_zero() -> None:
    report = image_and(1.0, 1.0).model_copy(update={"unscored_items": {"qa": {"a timeout": 4, "HTTP 500": 2}}})
    verdict = gate(report, Policy())
    assert verdict.decision == "INCONCLUSIVE"
    assert verdict.reasons[0] == "6 of 100 items of qa have no score (a timeout); the policy allows 5%."
    assert gate(report, Policy(unscored=0.1)).decision == "GO"


def test_the_newest_modality_can_be_the_worst() -> None:
    verdict = gate(image_and(1.0, 0.5), Policy())
    assert verdict.decision == "NO-GO"
    assert "newest stands at 50.00%" in verdict.reasons[0]


def test_a_newest_modality_without_an_expert_is_listed_with_the_cure_and_blocks_nothing() -> None:
    verdict = gate(image_and(1.0), Policy())
    assert verdict.decision == "GO"
    assert "Unscored, newest: it has no expert; make one: extend expert newest" in verdict.reasons
    demanding = gate(image_and(1.0), Policy(expert=True))
    assert demanding.decision == "INCONCLUSIVE"
    assert "newest, the newest modality, has no expert to compare with" in demanding.reasons[0]


def test_an_older_modality_without_an_expert_makes_it_inconclusive() -> None:
    scores = {"image": {"cap": 90.0}, "audio": {"aud": 0.9}, "newest": {"new": 1.0}}
    verdict = gate(report_of(scores, {"audio": {"aud": 1.0}, "newest": {"new": 1.0}}), Policy())
    assert verdict.decision == "INCONCLUSIVE"
    assert verdict.reasons[0].startswith("image is unscored")
    assert any("extend expert image" in reason for reason in verdict.reasons)


def test_an_older_modality_with_one_unscored_dataset_is_not_scored_by_the_other() -> None:
    datasets = {"image": ("cap", "qa-1"), "b": ("qa",)}
    found = bounds(datasets, {"image": {"cap": ([0.99], [1.0])}, "b": {"qa": ([1.0], [1.0])}}, ([1.0], [1.0]))
    assert set(found.modalities) == {"b"}
    assert set(found.datasets["image"]) == {"cap"}
    report = report_of({"image": {"cap": 99.0}, "b": {"qa": 1.0}}, {"image": {"cap": 100.0}, "b": {"qa": 1.0}})
    assert gate(report.model_copy(update={"bounds": found}), Policy()).decision == "INCONCLUSIVE"


def test_a_dataset_without_any_score_is_doubt_even_where_nothing_can_be_forgotten() -> None:
    """A judge that is away leaves a first modality without bounds; that is no GO."""
    alone = {"a": {"k": 1.0}}
    report = report_of(alone, {}).model_copy(update={"unscored": {"k": "a judge scored none of its answers"}})
    verdict = gate(report, Policy())
    assert verdict.decision == "INCONCLUSIVE"
    assert verdict.reasons[0] == "k has no score, so nobody knows how it stands."


def test_what_is_known_to_be_too_low_blocks_even_when_something_else_is_unknown() -> None:
    scores = {"image": {"cap": 90.0}, "audio": {"aud": 0.2}, "newest": {"new": 1.0}}
    verdict = gate(report_of(scores, {"audio": {"aud": 1.0}}), Policy())
    assert verdict.decision == "NO-GO"
    assert "audio stands at 20.00%" in verdict.reasons[0]
    assert any(reason.startswith("image is unscored") for reason in verdict.reasons)


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
    verdict = verdicts(read_tables(PAPER), Policy())["reverse"][method]
    assert verdict.decision == "NO-GO"
    assert any(reason.startswith("pointcloud stands at") for reason in verdict.reasons)
    if method == "MERA (10%)":
        aggregate = verdict.checks[0]  # which a gate on the mean would have shipped
        assert (aggregate.kind, f"{aggregate.interval.value:.4f}", aggregate.outcome) == (
            "aggregate",
            "0.9752",
            "passed",
        )
        assert verdict.reasons[0].startswith("pointcloud stands at 77.97% of its expert (lowest dataset: Cap3D-QA")
        blocking = Policy(aggregate=0.0, modality=0.9, dataset=0.0, forward=0.0)
        alone = verdicts(read_tables(PAPER), blocking)["reverse"][method]
        assert [one.name for one in alone.checks if one.outcome == "failed"] == ["pointcloud"]


def test_a_policy_of_ones_own_changes_the_verdict() -> None:
    lenient = Policy(modality=0.5, dataset=0.5, forward=0.5)
    assert gate(image_and(1.0, 0.6), Policy()).decision == "NO-GO"
    verdict = gate(image_and(1.0, 0.6), lenient)
    assert (verdict.decision, verdict.policy) == ("GO", lenient)
    nothing = Policy(aggregate=0, modality=0, dataset=0, forward=0, text=0)
    assert gate(report_of({"a": {"k": 0.1}}, {"a": {"k": 1.0}}), nothing).checks == ()
