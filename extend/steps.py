"""The four steps of MERA (paper §4, Table 9): align, tune, fold, realign. Methods are made of them.

Each trains what it names and leaves the rest bit for bit as it was.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from extend.adapter import Adapter
from extend.data import draw, thin
from extend.processes import here, share, together
from extend.recipe import Phase
from extend.stage import Stage, phase
from extend.train import Curve, train
from extend.warm import warm_start
from modalities.architectures import Pretrained
from modalities.base import TEXT, Sample
from modalities.connectors import Calibrated


@phase
def warm(stage: Stage, _: Path) -> Curve | None:
    """Before anything sees the LLM: scale the new connector and bring its tokens near the right words."""
    torch.manual_seed(stage.recipe.seed)
    known = list(stage.model.embedder.connectors.values())
    connector = stage.model.embedder.add(stage.modality)
    if any(connector is other for other in known):  # shared, and trained before: it goes on as it is
        return None
    if isinstance(connector, Pretrained):
        connector.pretrained(stage.store)
    _encode(stage, stage.data.new)
    media = [part for sample in stage.data.new for part in sample.prompt if part.modality == stage.modality.name]
    if stage.recipe.calibrate and isinstance(connector, Calibrated):
        seen = [stage.model.embedder.media(part).float() for part in dict.fromkeys(media)]
        connector.calibrate(torch.cat(seen), float(stage.model.embedder.table.weight.std()))
    if stage.recipe.warm is None:
        return None
    return warm_start(stage.model, stage.modality.name, stage.data.new, stage.recipe.warm, stage.recipe.seed)


def align(stage: Stage) -> None:
    """Train M_i's connector on captions, everything else frozen (§3, pre-training)."""
    warm(stage)
    align_connector(stage)


@phase
def align_connector(stage: Stage, _: Path) -> Curve:
    """The part of align that runs through the LLM."""
    settings = stage.recipe.align
    parameters = list(stage.model.embedder.connectors[stage.modality.name].parameters())
    samples = _drawn(stage, stage.data.captions, settings)
    return _train(stage, "align", samples, settings, [(parameters, settings.lr_connector)])


@phase
def tune(stage: Stage, folder: Path, samples: Sequence[Sample]) -> Curve:
    """Train M_i's connector and, by LoRA, the LLM on captions and questions: θ_{i,vanilla} = θ_{i-1} + Δ_i.

    Plain text, where the recipe has any, comes on top of what is drawn of the samples: all of it.
    """
    settings = stage.recipe.tune
    assert settings.lr_llm is not None, "A recipe's tune phase needs lr_llm."
    connectors = {name for sample in samples for name in _media_names(sample)}
    parameters = [p for name in sorted(connectors) for p in stage.model.embedder.connectors[name].parameters()]
    torch.manual_seed(stage.recipe.seed + stage.index)
    with Adapter(stage.model.llm, stage.recipe.lora) as adapter:
        groups = [(parameters, settings.lr_connector), (adapter.parameters, settings.lr_llm)]
        curve = _train(stage, "tune", _drawn(stage, samples, settings) + list(stage.data.text), settings, groups)
        adapter.save(folder / "delta", stage.recipe.base_llm)
    return curve


def fold(stage: Stage, scale: float) -> None:
    """θ_i = θ_{i-1} + scale·Δ_i. With 1/i this is the paper's merge (i-1)/i·θ_{i-1} + 1/i·θ_{i,vanilla} (§4.1)."""
    assert stage.delta is not None, "There is nothing to fold before the tune phase."
    stage.apply(stage.delta, scale)


def realign(stage: Stage) -> None:
    """Train all connectors on r % of D_1 … D_i, the LLM frozen (§4.2). One modality alone needs none."""
    if stage.index > 1:
        realign_connectors(stage)


@phase
def realign_connectors(stage: Stage, _: Path) -> Curve:
    """All connectors on the replayed samples."""
    settings, recipe = stage.recipe.realign, stage.recipe
    fresh = None
    if recipe.fresh is not None:
        fresh = draw(_drawn(stage, stage.data.new, recipe.tune), recipe.fresh, recipe.seed)
    samples = _drawn(stage, stage.data.replay(recipe.replay, recipe.seed, fresh), settings)
    parameters = list(stage.model.embedder.connectors.parameters())
    return _train(stage, "realign", samples, settings, [(parameters, settings.lr_connector)])


def _train(
    stage: Stage, name: str, samples: Sequence[Sample], settings: Phase, groups: list[tuple[list[nn.Parameter], float]]
) -> Curve:
    _encode(stage, samples)
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
    )


def _encode(stage: Stage, samples: Sequence[Sample]) -> None:
    """Have the samples' media in the encoder cache: each process its share, and nobody goes on before all are there."""
    media = dict.fromkeys(part for sample in samples for part in sample.prompt if part.modality != TEXT)
    stage.model.embedder.encode(share(list(media)))
    together()


def _drawn(stage: Stage, samples: Sequence[Sample], settings: Phase) -> list[Sample]:
    """What a phase takes of its samples."""
    return thin(draw(samples, settings.share, stage.recipe.seed), settings.captions, stage.recipe.seed)


def _media_names(sample: Sample) -> set[str]:
    return {part.modality for part in sample.prompt if part.modality != TEXT}
