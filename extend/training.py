"""What a phase is shown, and how it is trained on: the shares of a recipe, replay, noise, and each phase's own seed.

It does not know which phases there are (steps.py).
"""

from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from extend.data import draw, media_of, mispair, thin
from extend.processes import here, share, together
from extend.recipe import Phase
from extend.stage import Stage
from extend.train import Curve, train
from modalities.base import Sample


def replayed(stage: Stage, share: float | None) -> list[list[Sample]]:
    """What realigning sees of each of D_1 … D_i: a share (absent: the recipe's r), some of it mispaired if so asked."""
    recipe, fresh = stage.recipe, None
    if recipe.fresh is not None:
        fresh = draw(drawn(stage, stage.data.new, recipe.tune), recipe.fresh, recipe.seed)
    domains = stage.data.replay(share or recipe.replay, recipe.seed, fresh)
    domains = [drawn(stage, domain, recipe.realign) for domain in domains]
    return noisy(stage, domains)


def noisy(stage: Stage, domains: Sequence[list[Sample]]) -> list[list[Sample]]:
    """Replayed samples as the options want them: some of them mispaired (paper, Appendix A.5)."""
    options, seed = stage.recipe.options, stage.recipe.seed
    mixed = iter(mispair([*chain.from_iterable(domains)], options.noise, seed))
    return [[next(mixed) for _ in domain] for domain in domains]


def spoken(stage: Stage, samples: Sequence[Sample]) -> list[nn.Parameter]:
    """The parameters of those connectors whose media the samples have.

    A question over several senses trains the new one's alone: those learned before stay as they are until all realign.
    """
    asked = {frozenset(part.modality for part in media_of(sample)) for sample in samples}
    names = sorted({name for one in asked for name in one if len(one) == 1 or name == stage.modality.name})
    return [parameter for name in names for parameter in stage.model.embedder.connectors[name].parameters()]


def run_phase(
    stage: Stage,
    name: str,
    samples: Sequence[Sample],
    settings: Phase,
    groups: list[tuple[list[nn.Parameter], float]],
    penalty: Callable[[], Tensor] | None = None,
) -> Curve:
    """Train on the samples as they are, by a phase's settings."""
    encode(stage, samples)
    # Each phase has a seed of its own: what it does never depends on whether the phases before it ran or were loaded.
    seed = stage.recipe.seed + 1000 * stage.index + sum(name.encode())
    torch.manual_seed(seed + here().process_index)
    return train(
        stage.model,
        name,
        samples,
        groups,
        batch=settings.batch,
        epochs=settings.epochs,
        warmup=stage.recipe.warmup,
        seed=seed,
        machine=stage.recipe.machine,
        penalty=penalty,
    )


def encode(stage: Stage, samples: Sequence[Sample]) -> None:
    """Have the samples' media in the encoder cache: each process its share, and nobody goes on before all are there."""
    media = dict.fromkeys(part for sample in samples for part in media_of(sample))
    stage.model.embedder.encode(share(list(media)))
    together()


def drawn(stage: Stage, samples: Sequence[Sample], settings: Phase) -> list[Sample]:
    """What a phase takes of its samples."""
    return thin(draw(samples, settings.share, stage.recipe.seed), settings.captions, stage.recipe.seed)
