"""Paired bootstrap over test items: how sure one can be of a Relative Gain. It knows no threshold and no model.

Both answers to an item, the checkpoint's and its expert's, are drawn together, so what makes an item hard for both
cancels. Captions need nothing of their own: with the document frequencies frozen at those of the whole test, CIDEr of
a resample is the mean of its items' scores. Bounds are one-sided and hold in 95 of 100 cases. They are quantiles of the
resamples, which of a few hundred items with skewed scores are a little too narrow: asked for 95 % they hold in 93 to
95 (BCa: in 92 to 95). So they are asked for 96.5 %; docs/gate.md has the simulation.

Shapes: N = items of a dataset, B = resamples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
SURE = 0.95  # of each of the two one-sided bounds
ASKED = 0.965  # of the resamples, so that the bounds are that sure
MOST = 1e6  # a resample in which the expert scores nothing
_ROWS = 2**20  # numbers drawn at once; bounds the memory

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """What one dataset adds to an estimate's uncertainty: its part of the variance, at this number of items."""

    name: str
    n: int
    variance: float


@dataclass(frozen=True)
class Estimate:
    """A figure, its resamples, and where its uncertainty comes from."""

    point: float
    draws: Floats  # (B,)
    sources: tuple[Source, ...]

    @property
    def bounds(self) -> tuple[float, float]:
        """The lower and the upper bound: the truth is above the one, and below the other, in 95 cases of 100."""
        lower, upper = np.quantile(self.draws, [1 - ASKED, ASKED])
        return float(lower), float(upper)


def ratio(name: str, said: Sequence[float], expert: Sequence[float], seed: int, resamples: int = RESAMPLES) -> Estimate:
    """A dataset's share of its expert's score, mean(said) / mean(expert), over items that are paired by their place."""
    x, y = np.asarray(said, float), np.asarray(expert, float)  # (N,)
    assert len(x) == len(y) > 0, "Each item needs the score of both."
    assert y.mean() > 0, "An expert that scores nothing is no denominator."
    point = float(x.mean() / y.mean())
    over, under = means(np.stack([x, y]), seed, resamples)  # (B,)
    draws = np.minimum(np.divide(over, under, out=np.full(resamples, MOST), where=under > 0), MOST)
    influence = (x - point * y) / y.sum()  # (N,); the delta method
    return Estimate(point, draws, (Source(name, len(x), float((influence**2).sum())),))


def difference(name: str, a: Sequence[float], b: Sequence[float], seed: int, resamples: int = RESAMPLES) -> Estimate:
    """mean(b) - mean(a) over items that are paired by their place."""
    return level(name, (np.asarray(b, float) - np.asarray(a, float)).tolist(), seed, resamples)


def level(name: str, scores: Sequence[float], seed: int, resamples: int = RESAMPLES) -> Estimate:
    """The mean of the items' scores."""
    x = np.asarray(scores, float)  # (N,)
    source = Source(name, len(x), float(x.var() / len(x)))
    return Estimate(float(x.mean()), means(x[None], seed, resamples)[0], (source,))


def means(values: Floats, seed: int, resamples: int) -> Floats:
    """The mean of each row of values (K, N) in each resample, (K, B); all rows are drawn together."""
    n = values.shape[1]
    draw = np.random.default_rng(seed)
    out = np.empty((len(values), resamples))
    step = max(1, _ROWS // n)
    for start in range(0, resamples, step):
        picked = draw.integers(0, n, size=(min(step, resamples - start), n))
        for row, one in zip(values, out, strict=True):
            one[start : start + step] = row[picked].mean(axis=1)
    return out


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates."""
    draws = np.mean([one.draws for one in estimates], axis=0)
    return Estimate(float(np.mean([one.point for one in estimates])), draws, _joined(estimates, [1.0] * len(estimates)))


def capped(estimate: Estimate) -> Estimate:
    """The same, counted as 1 where it is more: what is gained in one place makes up for no loss in another.

    Capping pulls resamples down and never up, so they are centred on the capped point again.
    """
    point, draws = min(estimate.point, 1.0), np.minimum(estimate.draws, 1.0)
    sources = _joined([estimate], [float(estimate.point < 1.0)])
    return Estimate(point, np.minimum(draws - draws.mean() + point, 1.0), sources)


def geometric(estimates: Sequence[Estimate]) -> Estimate:
    """The geometric mean: one estimate near zero pulls it to zero."""
    points = [max(one.point, 0.0) for one in estimates]
    point = math.prod(points) ** (1 / len(points))
    draws = np.prod([np.maximum(one.draws, 0.0) for one in estimates], axis=0) ** (1 / len(points))
    return Estimate(point, draws, _joined(estimates, [point / value if value > 0 else 0.0 for value in points]))


def _joined(estimates: Sequence[Estimate], weights: Sequence[float]) -> tuple[Source, ...]:
    """The sources of a mean, each estimate weighted by its slope in it."""
    scales = [(weight / len(estimates)) ** 2 for weight in weights]
    pairs = zip(estimates, scales, strict=True)
    return tuple(Source(one.name, one.n, one.variance * scale) for each, scale in pairs for one in each.sources)
