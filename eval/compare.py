"""Two measured checkpoints, item by item: what one says better than the other, and how sure that is. No model needed.

It knows no floor: which difference is too much is for the gate to say.
"""

from collections.abc import Iterator, Sequence

from eval import EvalError
from eval.bootstrap import difference
from eval.figures import interval, seed
from eval.predictions import FOLDER, Prediction, read, rescored
from eval.report import Flip, Frozen, Interval, Report
from eval.report import read as read_report
from modalities.base import Task
from modalities.checkpoint import Store

SHOWN = 4  # flips of each dataset that a report shows, half of them for the worse


class Row(Frozen):
    """One dataset, as both answer it."""

    modality: str
    dataset: str
    task: Task
    n: int  # items that both have a score of
    before: float
    after: float
    change: Interval  # of the score, after - before
    better: int  # items whose score rose
    worse: int


class Comparison(Frozen):
    """All datasets that both were measured on."""

    before: str
    after: str
    rows: tuple[Row, ...]
    flips: tuple[Flip, ...]


def compare(store: Store, before: str, after: str) -> Comparison:
    """Compare two checkpoints on the items that both were asked. Raises EvalError and StoreError."""
    old, new = read_report(store, before), read_report(store, after)
    if old.judging.judge != new.judging.judge:
        raise EvalError(f"{before} and {after} were judged by different judges; measure both with the same one.")
    rows, flips = [], []
    for modality, dataset, task, pairs in _pairs(store, old, new):
        scores = [(one.score or 0.0, two.score or 0.0) for one, two in pairs]
        a, b = [one for one, _ in scores], [two for _, two in scores]
        row = Row(
            modality=modality,
            dataset=dataset,
            task=task,
            n=len(pairs),
            before=sum(a) / len(a),
            after=sum(b) / len(b),
            change=interval(difference(dataset, a, b, seed(dataset))),
            better=sum(one < two for one, two in scores),
            worse=sum(one > two for one, two in scores),
        )
        rows.append(row)
        flips += _flips(dataset, pairs)
    if not rows:
        raise EvalError(f"{before} and {after} were not measured on a common dataset; measure both again.")
    return Comparison(before=before, after=after, rows=tuple(rows), flips=tuple(flips))


def _pairs(
    store: Store, old: Report, new: Report
) -> Iterator[tuple[str, str, Task, list[tuple[Prediction, Prediction]]]]:
    """The predictions of both about the same items, by dataset, where both have a score."""
    for modality, datasets in new.datasets.items():
        for dataset, task in datasets.items():
            said = [_said(store, report, dataset) for report in (old, new)]
            ids = [one for one in said[1] if one in said[0]]
            both = [rescored(task, [mine[one] for one in ids]) for mine in said] if len(ids) > 1 else [[], []]
            pairs = [
                (one, two) for one, two in zip(*both, strict=True) if one.score is not None and two.score is not None
            ]
            if pairs:
                yield modality, dataset, task, pairs


def _said(store: Store, report: Report, dataset: str) -> dict[tuple[str, str, tuple[str, ...]], Prediction]:
    file = store.folder(report.checkpoint) / FOLDER / report.predictions.get(dataset, "none")
    return {(one.id, one.question, one.references): one for one in (read(file) if file.is_file() else [])}


def _flips(dataset: str, pairs: Sequence[tuple[Prediction, Prediction]]) -> list[Flip]:
    """The largest changes for the worse, then those for the better."""
    flips = [
        Flip(
            dataset=dataset,
            id=two.id,
            question=two.question,
            references=two.references,
            before=one.prediction,
            after=two.prediction,
            change=(two.score or 0.0) - (one.score or 0.0),
        )
        for one, two in pairs
    ]
    ordered = sorted(flips, key=lambda one: one.change)
    worst = [one for one in ordered[: SHOWN // 2] if one.change < 0]
    return worst + [one for one in ordered[::-1][: SHOWN // 2] if one.change > 0]


def text(made: Comparison) -> str:
    """The same for a reader."""
    lines = [f"{made.after} against {made.before}"]
    for one in made.rows:
        scale = 1 if one.task == "caption" else 100
        change = one.change
        lines.append(
            f"{one.modality}, {one.dataset}: {scale * one.before:.2f} -> {scale * one.after:.2f}, "
            f"{scale * change.value:+.2f} (95 % sure: above {scale * change.lower:+.2f}, "
            f"below {scale * change.upper:+.2f}); {one.better} better, {one.worse} worse of {one.n}"
        )
    for flip in made.flips:
        word = "worse" if flip.change < 0 else "better"
        lines.append(f"  {word}: {flip.dataset}, {flip.id}: {flip.question} {flip.before!r} -> {flip.after!r}")
    return "\n".join(lines)
