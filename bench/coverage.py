"""Do the gate's bounds hold what they promise? Simulated results whose truth is known, 1,000 draws of each world.

    python bench/coverage.py > coverage.json

A world is one or more datasets, each a joint distribution of the checkpoint's and its expert's score on an item. Of
each draw the lower and the upper bound are taken by eval/bootstrap.py. `lower` and `upper` are the shares of draws in
which the truth lies above and below them (wanted: .95; 1,000 draws leave a standard error of .007), `plain` the same
for quantiles at .95 itself. `go` is how often a model that stands exactly at the margin, which should not pass, does.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eval.bootstrap import SURE, Estimate, capped, geometric, mean, ratio

Generator = np.random.Generator
Pair = tuple[np.ndarray, np.ndarray]  # (N,), (N,)


@dataclass(frozen=True)
class Set:
    """A simulated dataset: how many items, a draw of them, and the true share of the expert's score."""

    n: int
    draw: Callable[[Generator, int], Pair]
    truth: float


def answers(n: int, expert: float, share: float, shared: float = 0.5) -> Set:
    """Accuracy: right or wrong, and for a `shared` part of the items both are decided by the same luck."""

    def draw(random: Generator, n: int) -> Pair:
        luck, own = random.random(n), random.random(n)
        other = np.where(random.random(n) < shared, luck, own)
        return (other < expert * share).astype(float), (luck < expert).astype(float)

    return Set(n, draw, share)


def captions(n: int, share: float, silent: float = 0.4, shape: float = 0.6) -> Set:
    """CIDEr: many items with nothing, a few with very much; the two scores of an item go together."""

    def draw(random: Generator, n: int) -> Pair:
        common = random.gamma(shape, 1.0, n) * (random.random(n) >= silent)
        noise = random.gamma(2.0, 0.5, (2, n))
        return 100 * share * common * noise[0], 100 * common * noise[1]

    return Set(n, draw, share)


def losses(n: int, share: float) -> Set:
    """Token losses of whole answers: the reference's over the checkpoint's."""

    def draw(random: Generator, n: int) -> Pair:
        easy = random.gamma(1.5, 10.0, n)
        return easy * share, easy * random.lognormal(-0.02, 0.2, n)

    return Set(n, draw, share)


Figure = Callable[[Sequence[Estimate]], Estimate]


def capped_mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of shares that count as 1 where they are more."""
    return mean([capped(one) for one in estimates])


WORLDS: dict[str, tuple[list[Set], Figure]] = {
    "accuracy .50, 300 items": ([answers(300, 0.5, 0.9)], mean),
    "accuracy .95, 400 items": ([answers(400, 0.95, 0.95)], mean),
    "accuracy .08, 900 items": ([answers(900, 0.08, 0.9)], mean),
    "accuracy .50, 60 items": ([answers(60, 0.5, 0.9)], mean),
    "captions, 300 items": ([captions(300, 0.9)], mean),
    "captions, 100 items": ([captions(100, 0.9)], mean),
    "a modality: captions and answers, 520 and 920": ([captions(520, 0.95), answers(920, 0.65, 0.97)], mean),
    "unequal sizes: 1000, 80 and 300": ([answers(1000, 0.6, 1.0), captions(80, 0.9), answers(300, 0.3, 0.8)], mean),
    "capped mean: .90, .97 and 1.15": (
        [answers(400, 0.6, 0.9), captions(500, 0.97, silent=0.2, shape=1.5), answers(400, 0.4, 1.15)],
        capped_mean,
    ),
    "geometric mean: .80, 1.00 and .95": (
        [answers(300, 0.5, 0.8), captions(300, 1.0), answers(500, 0.7, 0.95)],
        geometric,
    ),
    "text: token losses of 240 answers": ([losses(240, 0.98)], mean),
}


def truth_of(sets: Sequence[Set], figure: Figure) -> float:
    """The figure that infinitely many items would give."""
    exact = [Estimate(one.truth, np.full(1, one.truth), ()) for one in sets]
    return figure(exact).point


def run(sets: Sequence[Set], figure: Figure, draws: int, seed: int) -> dict[str, float]:
    """Coverage in one world."""
    random, truth = np.random.default_rng(seed), truth_of(sets, figure)
    hits, go = np.zeros((2, 2)), 0
    for number in range(draws):
        estimate = figure([ratio("", *one.draw(random, one.n), seed=1000 * number + k) for k, one in enumerate(sets)])
        low, high = estimate.bounds
        plain = np.quantile(estimate.draws, [1 - SURE, SURE])
        hits += [[low <= truth, truth <= high], [plain[0] <= truth, truth <= plain[1]]]
        go += low >= truth  # the floor is the truth
    (lower, upper), (plain_lower, plain_upper) = (hits / draws).tolist()
    return {
        "truth": round(truth, 4),
        "lower": lower,
        "upper": upper,
        "plain lower": plain_lower,
        "plain upper": plain_upper,
        "go": go / draws,
    }


def main() -> None:
    """Every world, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = {}
    for name, (sets, figure) in WORLDS.items():
        out[name] = run(sets, figure, options.draws, options.seed)
        print(name, out[name], file=sys.stderr, flush=True)
    json.dump(out, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
