"""How much of what a modality could do is kept, estimated while a stage is still being made. It knows no method.

The measure is cheap and needs no answers to be generated: on held-out replayed files, how likely are the right
answers' tokens, compared with the reference? For an older modality that is θ_{i-1}; for the new one θ_{i,vanilla}.
1 means nothing was lost. `kept` can be exchanged for another measure of the same shape: the gate's own, say.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import nn

from extend.data import by_media, parted
from extend.stage import Stage, phase
from extend.training import replayed
from modalities.base import Sample
from modalities.deltas import added, read_delta
from modalities.mllm import MLLM
from serving.policy import read_policy

HELD = 0.2  # of the replayed files, held out
ONE_SIDED = 1.645  # standard errors below the mean: what holds with a confidence of 95 %


@dataclass(frozen=True)
class Kept:
    """An estimated Relative Gain, and what it is at least."""

    share: float
    low: float


def kept(now: Sequence[float], then: Sequence[float]) -> Kept:
    """exp(mean(then - now)) of the losses of each file, in nats a token, and its lower bound over files."""
    logs = [before - after for after, before in zip(now, then, strict=True)]
    middle = fmean(logs)
    error = stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    return Kept(math.exp(middle), math.exp(middle - ONE_SIDED * error))


def cleared(found: Mapping[str, Kept]) -> bool:
    """Whether the gate's default policy would hold for the lower bounds: the older modalities' mean, and the worst."""
    policy = read_policy()
    *older, _ = (one.low for one in found.values())
    return fmean(older) >= policy.aggregate and min(one.low for one in found.values()) >= policy.modality


@torch.no_grad()
def losses(model: MLLM, samples: Sequence[Sample]) -> list[float]:
    """The loss of each file's samples."""
    return [model.loss(group).item() for group in by_media(samples)]


class Scaled:
    """A trained delta on the LLM at any scale, inside a `with` block: the very bits that folding it would give."""

    def __init__(self, llm: nn.Module, delta: Path) -> None:
        self._parts = read_delta(delta, 1.0)
        weights = dict(llm.named_parameters())
        self._weights = {name: weights[name] for name in self._parts}
        self._kept = {name: weight.detach().clone() for name, weight in self._weights.items()}

    def __enter__(self) -> "Scaled":
        return self

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(self._kept[name])

    @property
    def names(self) -> list[str]:
        """Of the weights that the delta changes."""
        return list(self._parts)

    @torch.no_grad()
    def set(self, scales: Mapping[str, float]) -> None:
        """θ_{i-1} + scale·Δ_i, by the name of a weight."""
        for name, part in self._parts.items():
            scaled = type(part)(part.a, part.b, scales[name] * part.factor)
            self._weights[name].copy_(added(self._kept[name], [scaled]))


def held_out(stage: Stage, share: float | None = None) -> tuple[dict[str, list[Sample]], dict[str, list[Sample]]]:
    """What is replayed of each modality, in learning order, parted: to realign on, and to estimate on."""
    names = list(stage.model.embedder.connectors)
    trained, held = {}, {}
    for name, samples in zip(names, replayed(stage, share), strict=True):
        trained[name], held[name] = parted(samples, HELD, stage.recipe.seed)
    return trained, held


@phase
def remember(stage: Stage, folder: Path) -> None:
    """The reference, before anything is folded: the losses of the held-out files."""
    assert stage.delta is not None, "The reference needs a trained delta."
    _, held = held_out(stage, stage.recipe.options.realign)
    stage.model.embedder.encode(part for samples in held.values() for sample in samples for part in sample.prompt)
    *older, newest = held
    then = {name: losses(stage.model, held[name]) for name in older}
    with Scaled(stage.model.llm, stage.delta) as scaled:
        scaled.set(dict.fromkeys(scaled.names, 1.0))
        then[newest] = losses(stage.model, held[newest])
    (folder / "losses.json").write_text(json.dumps(then))


def estimate(stage: Stage, held: Mapping[str, Sequence[Sample]]) -> dict[str, Kept]:
    """What is kept of each modality by the model as it stands, compared with what `remember` saw."""
    then: dict[str, Any] = json.loads((stage.work / "remember" / "losses.json").read_text())
    return {name: kept(losses(stage.model, samples), then[name]) for name, samples in held.items()}
