"""From the stores of a study to the paper's figures, each with an interval. It knows no model and draws nothing.

Every figure is an array of 1 + DRAWS values: the first from the test items as they are, the others from items drawn
with replacement (the bootstrap), the same draws for every method and stage and for the experts. So figures of two
methods can be compared draw by draw. Items are drawn one by one; questions about one file are not kept together.

Shapes: R = 1 + DRAWS, m = modalities, n = items of a dataset.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eval.predictions import FOLDER, read
from eval.report import Report
from extend import run
from extend.study.grid import Grid, Work
from extend.study.variant import variant
from modalities.checkpoint import Store

DRAWS = 1000
Values: TypeAlias = NDArray[np.float64]  # (R,)


@dataclass(frozen=True)
class Figure:
    """A value and its 95 % interval, as shares (1 = the experts')."""

    value: float
    low: float
    high: float


@dataclass
class Run:
    """One order, variant and seed: what its stages keep, and what they cost. Stages count from 1, lists from 0."""

    seed: int
    order: tuple[str, ...]
    variant: str
    checkpoints: list[str] = field(default_factory=list)
    scores: list[dict[str, float]] = field(default_factory=list)  # by stage: dataset -> score
    gains: list[dict[str, Values | None]] = field(default_factory=list)  # by stage: modality -> Relative Gain
    costs: list[dict[str, float]] = field(default_factory=list)  # by stage: seconds, cpu_seconds, peak_bytes
    diagnosis: list[dict[str, str]] = field(default_factory=list)  # by stage: modality -> kept, misaligned, forgotten

    @property
    def backward(self) -> list[Values | None]:
        """Backward Relative Gain of each stage; at the first, its own Relative Gain stands there (eval/gain.py)."""
        return [_mean([*gains.values()][:-1] or [*gains.values()]) for gains in self.gains]

    @property
    def forward(self) -> list[Values | None]:
        """Forward Relative Gain of each stage."""
        return [[*gains.values()][-1] for gains in self.gains]


@dataclass
class Results:
    """All runs of a study that are whole, and what its checkpoints cost to serve."""

    runs: list[Run]
    datasets: dict[str, tuple[str, ...]]  # modality -> its datasets
    experts: dict[int, dict[str, float]]  # seed -> dataset -> score
    serving: dict[str, list[dict[str, float]]]  # variant -> after the first stage, and after the last

    def of(self, order: Sequence[str], text: str) -> list[Run]:
        """The runs of all seeds."""
        return [one for one in self.runs if (one.order, one.variant) == (tuple(order), text)]

    @property
    def orders(self) -> list[tuple[str, ...]]:
        """As they were run."""
        return list(dict.fromkeys(one.order for one in self.runs))

    @property
    def variants(self) -> list[str]:
        """As they were asked for."""
        return list(dict.fromkeys(one.variant for one in self.runs))

    def mean(self, order: Sequence[str], text: str) -> Figure | None:
        """The mean over stages, and over seeds, of the Backward Relative Gain (Table 2)."""
        return figure(self._over_seeds(order, text, lambda stages: stages.mean(0)))

    def std(self, order: Sequence[str], text: str) -> Figure | None:
        """Its sample standard deviation over stages (Table 2)."""
        return figure(self._over_seeds(order, text, lambda stages: stages.std(0, ddof=1)))

    def worst(self, order: Sequence[str], text: str) -> tuple[str, Figure] | None:
        """The modality that stands lowest after the last stage, and how low."""
        runs = self.of(order, text)
        means = {name: _mean([one.gains[-1][name] for one in runs]) for name in (runs[0].gains[-1] if runs else ())}
        known = {name: value for name, value in means.items() if value is not None}
        if not known or len(known) < len(means):
            return None
        name = min(known, key=lambda one: known[one][0])
        found = figure(known[name])
        return None if found is None else (name, found)

    def better(self, order: Sequence[str], one: str, other: str) -> float | None:
        """In which share of the draws the first variant's mean Backward Relative Gain is the higher."""
        both = [self._over_seeds(order, text, lambda stages: stages.mean(0)) for text in (one, other)]
        if both[0] is None or both[1] is None:
            return None
        return float((both[0][1:] > both[1][1:]).mean())

    def _over_seeds(self, order: Sequence[str], text: str, reduce: Any) -> Values | None:
        values: list[Values | None] = []
        for one in self.of(order, text):
            stages = [value for value in one.backward if value is not None]
            whole = len(stages) == len(one.order) and len(stages) > 1
            values.append(reduce(np.stack(stages)) if whole else None)
        return _mean(values)


def figure(values: Values | None) -> Figure | None:
    """The value as measured, and where 95 % of the draws lie."""
    if values is None:
        return None
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return Figure(float(values[0]), float(low), float(high))


def gather(grid: Grid, orders: tuple[str, ...], variants: tuple[str, ...], seeds: tuple[int, ...]) -> Results:
    """Everything that is whole."""
    found = Results([], {}, {}, {})
    for works in grid.all(orders, variants, seeds):
        if all(grid.done(work) for work in works):
            found.runs.append(_run(grid, works))
            report = _report(grid, works[-1])
            found.datasets |= {name: tuple(sets) for name, sets in report.datasets.items()}
            found.experts.setdefault(works[0].seed, {}).update(_flat(report.experts))
        ends = [replace(one, kind="serve") for one in (works[0], works[-1])]
        if all(grid.done(one) for one in ends):
            found.serving.setdefault(works[0].variant, [_json(grid.serving(one)) for one in ends])
    return found


def _run(grid: Grid, works: Sequence[Work]) -> Run:
    made = Run(works[0].seed, _report(grid, works[-1]).modalities, works[0].variant)
    for work in works:
        report, store = _report(grid, work), grid.store(work.seed)
        made.checkpoints.append(report.checkpoint)
        made.scores.append(_flat(report.scores))
        made.gains.append({name: relative(store, report, name) for name in report.modalities})
        phases = run.figures(store, report.checkpoint)["phases"]
        made.costs.append(
            {key: float(sum(one.get(key, 0) for one in phases)) for key in ("seconds", "cpu_seconds")}
            | {"peak_bytes": float(max((one.get("peak_bytes", 0) for one in phases), default=0))}
        )
        made.diagnosis.append({change.modality: change.kind for change in report.diagnosis})
    return made


def relative(store: Store, report: Report, modality: str) -> Values | None:
    """The Relative Gain of a modality (§5.1), (R,); None where one of its datasets or its expert has no score."""
    expert = report.expert_of.get(modality)
    if expert is None or modality not in report.gains.relative:
        return None
    shares = []
    for name in report.datasets[modality]:
        mine, theirs = _items(store, report.checkpoint, report, name), _items(store, expert, report, name)
        weights = draws(name, len(mine))  # (R, n)
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw may hold none of what the expert knows
            shares.append((weights @ mine) / (weights @ theirs))
    found: Values = np.mean(shares, axis=0)
    return found


@cache
def draws(name: str, count: int) -> NDArray[np.float64]:
    """How often each of a dataset's items is in a draw, (R, n): once each first, then as chance has it."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    chance = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    all_of_them: NDArray[np.float64] = np.concatenate([np.ones((1, count)), chance.astype(np.float64)])
    return all_of_them


def _items(store: Store, checkpoint: str, report: Report, name: str) -> Values:
    """The score of each item of a dataset, in the order of the report's own predictions. Scored together, so kept."""
    folder = store.folder(checkpoint) / FOLDER
    kept = {one.id: one.score for one in read(folder / report.predictions[name])}
    own = read(store.folder(report.checkpoint) / FOLDER / report.predictions[name])
    return np.array([kept[one.id] for one in own], dtype=np.float64)


def _report(grid: Grid, work: Work) -> Report:
    found = grid.report(work)
    assert found is not None, "Only what is done is gathered."
    return found


def _mean(values: Sequence[Values | None]) -> Values | None:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    mean: Values = np.mean(known, axis=0)
    return mean


def _flat(scores: dict[str, dict[str, float]]) -> dict[str, float]:
    return {name: value for sets in scores.values() for name, value in sets.items()}


def _json(path: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(path.read_text())
    return found


def plain_variants(results: Results) -> list[str]:
    """Those without options."""
    return [text for text in results.variants if variant(text).plain]
