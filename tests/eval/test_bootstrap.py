"""Bounds by paired bootstrap: what they cover, what pairing is worth, and the cases at the edge."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eval import bootstrap
from eval.bootstrap import capped, difference, geometric, level, mean, ratio
from eval.score import cider_of_tokens

ROOT = Path(__file__).parent.parent.parent


def draw(seed: int, n: int = 300, share: float = 0.9) -> tuple[list[float], list[float]]:
    random = np.random.default_rng(seed)
    luck = random.random(n)
    return (luck < 0.6 * share).astype(float).tolist(), (luck < 0.6).astype(float).tolist()


def test_bounds_lie_around_the_point_and_narrow_with_the_items() -> None:
    few, many = (ratio("k", *draw(0, n), seed=1) for n in (100, 1600))
    widths = []
    for one in (few, many):
        lower, upper = one.bounds
        assert lower < one.point < upper
        widths.append(upper - lower)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)


def test_the_same_seed_gives_the_same_bounds() -> None:
    assert (
        ratio("k", *draw(0), seed=1).bounds
        == ratio("k", *draw(0), seed=1).bounds
        != ratio("k", *draw(0), seed=2).bounds
    )


def test_pairing_cancels_what_is_hard_for_both() -> None:
    said, expert = draw(0)
    paired, mixed = ratio("k", said, expert, seed=1), ratio("k", said, sorted(expert), seed=1)
    assert paired.point == mixed.point
    assert np.ptp(paired.bounds) < np.ptp(mixed.bounds) / 2


def test_a_checkpoint_that_is_its_own_expert_is_sure_to_be_as_good() -> None:
    said, _ = draw(0)
    one = ratio("k", said, said, seed=1)
    assert (one.point, *one.bounds) == (1.0, 1.0, 1.0)
    assert one.sources[0].variance == 0.0


def test_the_variance_is_that_of_the_resamples() -> None:
    one = ratio("k", *draw(3, 500), seed=1, resamples=8000)
    assert one.sources[0].variance ** 0.5 == pytest.approx(one.draws.std(), rel=0.05)
    both = mean([one, ratio("l", *draw(4, 200), seed=2, resamples=8000)])
    assert sum(source.variance for source in both.sources) ** 0.5 == pytest.approx(both.draws.std(), rel=0.05)
    product = geometric([one, ratio("l", *draw(4, 200), seed=2, resamples=8000)])
    assert sum(source.variance for source in product.sources) ** 0.5 == pytest.approx(product.draws.std(), rel=0.05)


def test_a_resample_in_which_the_expert_scores_nothing_is_no_number_out_of_bounds() -> None:
    one = ratio("k", [1.0, 0.0], [1.0, 0.0], seed=1)
    assert np.isfinite(one.draws).all()
    assert one.bounds[0] <= 1.0


def test_capping_never_exceeds_one_and_what_lies_below_stays() -> None:
    low, high = ratio("k", *draw(1, share=0.8), seed=1), ratio("k", *draw(2, share=1.4), seed=1)
    assert capped(high).point == 1.0
    assert capped(high).bounds[1] <= 1.0
    assert capped(high).sources[0].variance == 0.0
    assert capped(low).point == low.point
    assert capped(low).bounds == pytest.approx(low.bounds, abs=0.005)


def test_a_difference_is_that_of_the_means() -> None:
    said, expert = draw(0)
    one = difference("k", expert, said, seed=1)
    assert one.point == pytest.approx(np.mean(said) - np.mean(expert))
    assert one.bounds[0] < one.point < one.bounds[1] < 0
    assert level("k", said, seed=1).point == np.mean(said)


def test_cider_of_a_resample_with_a_frozen_idf_is_the_mean_of_its_items() -> None:
    """What makes the bootstrap of captions fast: computed anew on a resample, the weights of words kept."""
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    said = [f"a {colour} {thing}" for colour in ("red", "blue", "old") for thing in ("cat", "car", "house", "tree")]
    texts = [[one.replace("old", "very old"), one.replace("a ", "the ")] for one in said[1:] + said[:1]]
    scores = cider_of_tokens(said, texts)
    whole = CiderScorer()
    for one, references in zip(said, texts, strict=True):
        whole.cook_append(one, references)
    whole.compute_doc_freq()
    picked = np.random.default_rng(0).integers(0, len(said), len(said))
    resample = CiderScorer()
    for place in picked:
        resample.cook_append(said[place], texts[place])
    resample.document_frequency = whole.document_frequency
    assert 100 * np.mean(resample.compute_cider()) == pytest.approx(
        np.mean([scores[place] for place in picked]), abs=1e-9
    )


def test_the_simulation_runs_and_its_bounds_hold() -> None:
    """The whole of it, 1,000 draws of each world, is in docs/gate.md."""
    run = [sys.executable, "bench/coverage.py", "--draws", "60"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)})
    worlds = json.loads(done.stdout)
    assert len(worlds) > 8
    assert np.mean([one["lower"] for one in worlds.values()]) > 0.93
    assert np.mean([one["go"] for one in worlds.values()]) < 0.07
    assert bootstrap.SURE < bootstrap.ASKED
