"""The gate on a table of scores, like the paper's 11 and 12: without items there are no bounds, so the points decide.

It knows no model and no file.
"""

from collections.abc import Mapping
from statistics import fmean

from eval.gain import Order, Tables
from eval.gate import decide
from eval.report import Bounds, Interval, Verdict
from serving.policy import Policy


def verdicts(tables: Tables, policy: Policy) -> dict[str, dict[str, Verdict]]:
    """The verdict on the last stage of each order and method. Plain text is in no table, so it is left out."""
    rules = policy.model_copy(update={"text": 0.0})
    return {
        name: {method: _verdict(order, stages[len(order.order)], rules) for method, stages in order.methods.items()}
        for name, order in tables.root.items()
    }


def _verdict(order: Order, scores: Mapping[str, float], policy: Policy) -> Verdict:
    gains = order.gains(scores, len(order.order))
    shares = {
        modality: {k: _point(scores[k] / order.experts[k]) for k in order.datasets[modality] if k in scores}
        for modality in order.order
    }
    bounds = Bounds(
        datasets=shares,
        modalities={modality: _point(gain) for modality, gain in zip(order.order, gains, strict=True)},
        aggregate=_point(fmean(gains[:-1])) if len(gains) > 1 else None,
        forward=_point(gains[-1]),
    )
    return decide(bounds, order.order, policy)


def _point(value: float) -> Interval:
    return Interval(value=value, lower=value, upper=value)
