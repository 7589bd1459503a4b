"""The gate: a report and a policy in, GO, NO-GO or INCONCLUSIVE out, with reasons in words.

A test of non-inferiority: GO only if the lower bound of every figure reaches its floor (the aggregate, every modality,
every dataset, the newest modality, plain text), NO-GO if an upper bound fails one, else INCONCLUSIVE with the number
of items that would tell. The mean alone decides nothing. It knows no model and no server.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

from eval.bootstrap import SURE
from eval.report import Bounds, Check, Decision, Interval, Kind, Report, Verdict
from serving.policy import Policy

_Z = NormalDist().inv_cdf(SURE)
ENOUGH = 100  # times the items there are: who needs more is too near the floor for any number to tell


def gate(report: Report, policy: Policy) -> Verdict:
    """The verdict on a measured checkpoint."""
    verdict = decide(report.bounds, report.modalities, policy, list(_unscored(report, policy)))
    notes = [f"Unscored, {name}: {why}" for name, why in report.unscored.items()]
    if report.limit is not None:
        notes.append(f"Measured on a subset of {report.limit} items per dataset at most; leave --limit away for all.")
    return verdict.model_copy(update={"reasons": (*verdict.reasons, *notes), "checkpoint": report.checkpoint})


def decide(bounds: Bounds, modalities: Sequence[str], policy: Policy, doubts: Sequence[str] = ()) -> Verdict:
    """The verdict on figures and their bounds; `modalities` in learning order, `doubts` speak against a GO."""
    checks = sorted(_checks(bounds, policy), key=lambda one: (_KINDS.index(one.kind), one.interval.value))
    failed = [one for one in checks if one.outcome == "failed"]
    unknown = [*_unknown(bounds, modalities, policy), *doubts]
    undecided = [one for one in checks if one.outcome == "open"]
    decision: Decision = "NO-GO" if failed else "INCONCLUSIVE" if undecided or unknown else "GO"
    reasons = [_words(bounds, one) for one in failed] + unknown + [_words(bounds, one) for one in undecided]
    if decision == "GO":
        reasons = _passed(modalities, checks)
    return Verdict(decision=decision, reasons=tuple(reasons), checks=tuple(checks), policy=policy)


def more_items(interval: Interval, floor: float) -> dict[str, int]:
    """About how many more items of which dataset would tell on which side of a floor a figure lies.

    Of the dataset that adds most to the uncertainty where that is enough, else of all. Nothing where the figure stands
    so near the floor that no number of items would do.
    """
    room = ((interval.value - floor) / _Z) ** 2  # the variance that is small enough
    spread = sum(one.variance for one in interval.weights)
    if room * ENOUGH < spread or not interval.weights:
        return {}
    most = max(interval.weights, key=lambda one: one.variance)
    left = room - (spread - most.variance)
    if left * ENOUGH > most.variance:
        return {most.dataset: max(1, math.ceil(most.n * (most.variance / left - 1)))}
    grow = spread / room - 1
    return {one.dataset: max(1, math.ceil(one.n * grow)) for one in interval.weights if one.variance > 0}


_KINDS: tuple[Kind, ...] = ("aggregate", "modality", "dataset", "forward", "text")


def _checks(bounds: Bounds, policy: Policy) -> Iterator[Check]:
    """Every figure that there is, against its floor; a floor of 0 is none."""
    figures: list[tuple[Kind, str, Interval | None, float]] = [("aggregate", "", bounds.aggregate, policy.aggregate)]
    figures += [("modality", name, one, policy.modality) for name, one in bounds.modalities.items()]
    figures += [
        ("dataset", name, one, policy.dataset) for mine in bounds.datasets.values() for name, one in mine.items()
    ]
    figures += [("forward", "", bounds.forward, policy.forward), ("text", "", bounds.text, policy.text)]
    for kind, name, interval, floor in figures:
        if interval is None or floor == 0:
            continue
        # Both bounds within rounding of the floor count as on it: an exact share of 0.95 passes 0.95.
        outcome = "passed" if interval.lower >= floor - 1e-9 else "failed" if interval.upper < floor - 1e-9 else "open"
        more = more_items(interval, floor) if outcome == "open" else {}
        yield Check.model_validate(
            {"kind": kind, "name": name, "interval": interval, "floor": floor, "outcome": outcome, "more": more}
        )


def _unknown(bounds: Bounds, modalities: Sequence[str], policy: Policy) -> Iterator[str]:
    """What no figure is to be had of, though the policy asks for it."""
    *older, newest = modalities
    for one in older:
        if one not in bounds.modalities:
            yield f"{one} is unscored, so nobody knows whether it was forgotten."
    if policy.expert and bounds.forward is None:
        yield f"{newest}, the newest modality, has no expert to compare with, and the policy demands one."
    if policy.text and bounds.text is None:
        yield "Plain text was not measured, so nobody knows whether it was forgotten."


def _unscored(report: Report, policy: Policy) -> Iterator[str]:
    """Datasets of which too many items have no score, or all."""
    for name in (name for names in report.datasets.values() for name in names if name in report.unscored):
        yield f"{name} has no score, so nobody knows how it stands."
    for name, why in report.unscored_items.items():
        share = sum(why.values()) / report.counts[name]
        if share > policy.unscored:
            most = max(why, key=lambda reason: why[reason])
            yield (
                f"{sum(why.values())} of {report.counts[name]} items of {name} have no score ({most}); "
                f"the policy allows {policy.unscored:.0%}."
            )


def _words(bounds: Bounds, check: Check) -> str:
    """A figure that failed, or that is open, in a sentence."""
    interval, floor = check.interval, f"{check.floor:.2%}"
    stands = f"{interval.value:.2%}"
    match check.kind:
        case "aggregate":
            line = (
                f"The older modalities keep {stands} of their experts' scores on average; the policy asks for {floor}"
            )
        case "modality":
            share, dataset = min((one.value, name) for name, one in bounds.datasets[check.name].items())
            line = (
                f"{check.name} stands at {stands} of its expert (lowest dataset: {dataset} at {share:.2%}); "
                f"the policy asks for {floor} of each modality"
            )
        case "dataset":
            line = f"The dataset {check.name} stands at {stands} of its expert; the policy asks for {floor} of each"
        case "forward":
            line = f"The newest modality stands at {stands} of its expert; the policy asks for {floor}"
        case "text":
            rise = 1 / interval.value - 1 if interval.value > 0 else math.inf
            line = (
                f"Plain text stands at {stands}: the loss of the backbone's own answers is {rise:.1%} above its own; "
                f"the policy asks for {floor}"
            )
    if interval.lower < interval.upper:
        line += f" (95 % sure: above {interval.lower:.2%}, and below {interval.upper:.2%})"
    return line + "." + (_more(check) if check.outcome == "open" else "")


def _more(check: Check) -> str:
    if not check.more:
        return " It stands too near that for any number of items to tell."
    return f" To tell, it needs about {' and '.join(f'{n:,} more items of {name}' for name, n in check.more.items())}."


def _passed(modalities: Sequence[str], checks: Sequence[Check]) -> list[str]:
    """What was shown, and where it is nearest to failing."""
    reasons = []
    if len(modalities) == 1:
        reasons.append("This is the first modality: there is nothing to forget.")
    titles = {
        "aggregate": "The older modalities keep {value} of their experts' scores on average",
        "modality": "The lowest modality is {name} at {value} of its expert",
        "dataset": "The lowest dataset is {name} at {value}",
        "forward": "The newest modality stands at {value} of its expert",
        "text": "Plain text stands at {value}",
    }
    for kind, title in titles.items():
        mine = [one for one in checks if one.kind == kind]
        if mine:
            least = min(mine, key=lambda one: one.interval.lower - one.floor)
            stands = title.format(name=least.name, value=f"{least.interval.value:.2%}")
            reasons.append(
                f"{stands}, with 95 % certainty above {least.interval.lower:.2%}; wanted: {least.floor:.2%}."
            )
    return reasons
