"""From the scores of items to the figures that the gate looks at, with their bounds. It knows no floor and no model."""

import hashlib
from collections.abc import Collection, Mapping, Sequence

from eval import bootstrap
from eval.bootstrap import Estimate
from eval.report import Bounds, Interval, Weight

Pair = tuple[Sequence[float], Sequence[float]]  # the item scores of the checkpoint and of the expert
Pairs = Mapping[str, Mapping[str, Pair]]  # modality -> dataset -> the same items' scores


def bounds(
    datasets: Mapping[str, Collection[str]],
    pairs: Pairs,
    text: Pair | None = None,
    resamples: int = bootstrap.RESAMPLES,
) -> Bounds:
    """The bounds of everything; `datasets` lists each modality's, in learning order.

    A modality has bounds only where all of its datasets have pairs. `text` is each answer's loss under θ_0 and under
    the checkpoint: their share falls below 1 as the checkpoint's rises.
    """
    each = {
        modality: {name: _ratio(name, pair, resamples) for name, pair in pairs.get(modality, {}).items()}
        for modality in datasets
    }
    whole = {
        modality: bootstrap.mean(list(each[modality].values()))
        for modality, names in datasets.items()
        if each[modality].keys() == set(names)
    }
    *older, newest = datasets
    known = [whole[one] for one in older if one in whole]
    past = known if older and len(known) == len(older) else None
    return Bounds(
        datasets={
            modality: {name: interval(one) for name, one in mine.items()} for modality, mine in each.items() if mine
        },
        modalities={modality: interval(one) for modality, one in whole.items()},
        aggregate=interval(bootstrap.mean(past)) if past else None,
        capped=interval(bootstrap.mean([bootstrap.capped(one) for one in past])) if past else None,
        geometric=interval(bootstrap.geometric(past)) if past else None,
        forward=interval(whole[newest]) if newest in whole else None,
        text=interval(_ratio("plain text", text, resamples)) if text else None,
    )


def interval(estimate: Estimate) -> Interval:
    """An estimate as a report keeps it."""
    lower, upper = estimate.bounds
    weights = tuple(Weight(dataset=one.name, n=one.n, variance=one.variance) for one in estimate.sources)
    return Interval(value=estimate.point, lower=lower, upper=upper, weights=weights)


def seed(name: str) -> int:
    """The same draws for the same dataset, in every run."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])


def _ratio(name: str, pair: Pair, resamples: int) -> Estimate:
    return bootstrap.ratio(name, *pair, seed=seed(name), resamples=resamples)
