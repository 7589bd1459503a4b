"""The steps that methods are made of (paper §4, Table 9): align, tune, merge, realign, and what the others need.

Each trains what it names and leaves the rest bit for bit as it was.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from extend.adapter import Adapter
from extend.data import draw
from extend.estimate import remember
from extend.fisher import STORED, fisher
from extend.machine import metered
from extend.merging import fold_swept, merge_connector
from extend.recipe import Phase
from extend.stage import Stage, phase
from extend.train import Curve
from extend.training import drawn, encode, replayed, run_phase, spoken
from extend.warm import warm_start
from extend.weaving import Weaving
from extend.worst import realign_worst_first
from modalities.architectures import Pretrained
from modalities.base import Sample
from modalities.connectors import Calibrated

FISHER = "fisher.safetensors"


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
    encode(stage, stage.data.new)
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
    samples = drawn(stage, stage.data.captions, settings)
    return run_phase(stage, "align", samples, settings, [(parameters, settings.lr_connector)])


@phase
def tune(
    stage: Stage,
    folder: Path,
    samples: Sequence[Sample],
    replayed: Sequence[Sample] = (),
    penalty: Callable[[Adapter], Tensor] | None = None,
) -> Curve:
    """Train M_i's connector and, by LoRA, the LLM on captions and questions: θ_{i,vanilla} = θ_{i-1} + Δ_i.

    Of `samples` the recipe's share is taken, of `replayed` and of plain text, where the recipe has any, all; a
    connector is trained if a sample has its media.
    """
    settings, recipe = stage.recipe.tune, stage.recipe
    joint = [*drawn(stage, samples, settings), *replayed, *stage.data.text]
    torch.manual_seed(recipe.seed + stage.index)
    with Adapter(stage.model.llm, recipe.lora) as adapter:
        groups = [(spoken(stage, joint), settings.lr_connector), (adapter.parameters, _rate(settings))]
        loss = None if penalty is None else lambda: penalty(adapter)
        curve = run_phase(stage, "tune", joint, settings, groups, penalty=loss)
        adapter.save(folder / "delta", recipe.base_llm)
    return curve


@phase
def project(stage: Stage, _: Path) -> Curve:
    """Train M_i's connector alone on what `tune` would train on; the LLM stays bit for bit."""
    settings = stage.recipe.tune
    samples = drawn(stage, stage.data.new, settings)
    return run_phase(stage, "project", samples, settings, [(spoken(stage, samples), settings.lr_connector)])


@phase
def entwine(stage: Stage, folder: Path) -> Curve:
    """Train M_i's connector and Adapter-in-Adapter modules beside the LLM's layers, of the LoRA's rank."""
    settings, recipe = stage.recipe.tune, stage.recipe
    samples = drawn(stage, stage.data.new, settings)
    torch.manual_seed(recipe.seed + stage.index)
    with Weaving(stage.model.llm, recipe.lora, stage.adapters) as weaving:
        groups = [(spoken(stage, samples), settings.lr_connector), (weaving.parameters, _rate(settings))]
        curve = run_phase(stage, "entwine", samples, settings, groups)
        weaving.save(folder / "delta")
    return curve


def importance(stage: Stage, share: float) -> dict[str, Tensor]:
    """Σ_{j<i} F_j, the last of them estimated on a share of D_{i-1}, those before as they were handed on; handed on."""
    if stage.index == 1:
        return {}
    estimate_fisher(stage, share)
    stage.hand_on[FISHER] = stage.work / estimate_fisher.__name__ / FISHER
    return {name: one.to(stage.model.device) for name, one in load_file(stage.hand_on[FISHER]).items()}


@phase
def estimate_fisher(stage: Stage, folder: Path, share: float) -> Curve:
    """F_{i-1} of θ_{i-1}, added to what was handed on."""
    samples = draw(stage.data.old[-1], share, stage.recipe.seed)
    encode(stage, samples)
    with metered() as cost:
        found = fisher(stage.model, samples)
    before = load_file(stage.carry[FISHER]) if FISHER in stage.carry else {}
    save_file({name: (one.cpu() + before.get(name, 0)).to(STORED) for name, one in found.items()}, folder / FISHER)
    return Curve("fisher", len(samples), cost.seconds, cost.cpu_seconds, cost.peak_bytes)


def fold(stage: Stage, scale: float) -> None:
    """θ_i = θ_{i-1} + scale·Δ_i. With 1 this is plain fine-tuning."""
    assert stage.delta is not None, "There is nothing to fold before the tune phase."
    if stage.recipe.options.worst and stage.index > 1:
        remember(stage)
    stage.apply(stage.delta, scale)


def merge(stage: Stage) -> None:
    """(i-1)/i·θ_{i-1} + 1/i·θ_{i,vanilla} = θ_{i-1} + Δ_i/i, the LLM alone (§4.1); or as the options want it."""
    options, scale = stage.recipe.options, 1 / stage.index
    if stage.index > 1 and options.sweep is not None:
        scale = fold_swept(stage, options.sweep)
    else:
        fold(stage, scale)
    if options.connectors:
        merge_connector(stage, scale)


def weave(stage: Stage) -> None:
    """Put what `entwine` has trained beside the LLM's layers, where it stays."""
    assert stage.delta is not None, "There is nothing to weave before the entwine phase."
    stage.weave(stage.delta)


def realign(stage: Stage, share: float | None = None) -> None:
    """Train all connectors on r % of D_1 … D_i, the LLM frozen (§4.2). One modality alone needs none."""
    if stage.index > 1:
        step = realign_worst_first if stage.recipe.options.worst else realign_connectors
        step(stage, share)


@phase
def realign_connectors(stage: Stage, _: Path, share: float | None) -> Curve:
    """All connectors on the replayed samples."""
    settings = stage.recipe.realign
    samples = [*chain.from_iterable(replayed(stage, share))]
    parameters = list(stage.model.embedder.connectors.parameters())
    return run_phase(stage, "realign", samples, settings, [(parameters, settings.lr_connector)])


def _rate(settings: Phase) -> float:
    assert settings.lr_llm is not None, "A recipe's tune phase needs lr_llm."
    return settings.lr_llm
