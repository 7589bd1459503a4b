"""Past the paper: the merge's coefficient chosen instead of 1/i, and the new connector merged too. Knows no modality.

The merge is one scalar for each stage, so another one costs no training: every candidate is folded, what is kept of
each modality is estimated on held-out replayed files, and the one whose worst modality keeps most is taken.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import torch
from safetensors.torch import save_file

from extend.estimate import Scaled, estimate, held_out, remember
from extend.machine import metered
from extend.stage import Stage, phase
from extend.train import Curve
from modalities.base import Sample
from modalities.deltas import read_config, read_tensors

SCALES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
PARTS = 3  # of the backbone's depth


def fold_swept(stage: Stage, by: str) -> float:
    """Fold Δ_i with the coefficient, or one coefficient for each third of depth, that `choose` finds; their mean."""
    remember(stage)
    choose(stage, by)
    folder = stage.work / "choose"
    scales: list[float] = json.loads((folder / "scales.json").read_text())
    assert stage.delta is not None, "There is nothing to fold before the tune phase."
    if len(scales) == 1:
        stage.apply(stage.delta, scales[0])
    else:
        for place, scale in enumerate(scales, start=1):
            stage.apply(folder / f"part-{place}", scale, part=f".{place}")
    return fmean(scales)


@phase
def choose(stage: Stage, folder: Path, by: str) -> Curve:
    """Try coefficients, one group of weights after the other, the paper's 1/i first; keep what is best."""
    assert stage.delta is not None, "There is nothing to choose before the tune phase."
    _, held = held_out(stage, stage.recipe.options.realign)
    with metered() as cost, Scaled(stage.model.llm, stage.delta) as scaled:
        groups = [scaled.names] if by == "stage" else thirds(scaled.names)
        scales = [1 / stage.index] * len(groups)
        best = _worst(stage, scaled, groups, scales, held)
        for place in range(len(groups)):
            for candidate in SCALES:
                tried = [*scales[:place], candidate, *scales[place + 1 :]]
                if (found := _worst(stage, scaled, groups, tried, held)) > best:
                    best, scales = found, tried
    (folder / "scales.json").write_text(json.dumps(scales))
    if len(groups) > 1:
        for place, names in enumerate(groups, start=1):
            split(stage.delta, names, folder / f"part-{place}")
    return Curve("choose", sum(map(len, held.values())), cost.seconds, cost.cpu_seconds, cost.peak_bytes)


def _worst(
    stage: Stage,
    scaled: Scaled,
    groups: Sequence[Sequence[str]],
    scales: Sequence[float],
    held: Mapping[str, Sequence[Sample]],
) -> float:
    """What the worst modality keeps when each group of weights is folded with its scale."""
    scaled.set({name: scale for names, scale in zip(groups, scales, strict=True) for name in names})
    return min(one.share for one in estimate(stage, held).values())


def thirds(names: Sequence[str]) -> list[list[str]]:
    """The names of weights, in thirds of the backbone's depth."""
    depth = {name: int(found.group(1)) for name in names if (found := re.search(r"\.(\d+)\.", name))}
    layers = 1 + max(depth.values(), default=0)
    groups: list[list[str]] = [[] for _ in range(PARTS)]
    for name in names:
        groups[depth.get(name, 0) * PARTS // layers].append(name)
    return [group for group in groups if group]


def split(delta: Path, names: Sequence[str], folder: Path) -> None:
    """A part of a PEFT adapter as an adapter of its own."""
    wanted = {name.removesuffix(".weight") for name in names}
    tensors = read_tensors(delta / "adapter_model.safetensors")
    mine = {key: value for key, value in tensors.items() if key.split(".lora_")[0].removeprefix(_PREFIX) in wanted}
    folder.mkdir(parents=True)
    save_file(dict(sorted(mine.items())), folder / "adapter_model.safetensors")
    text = json.dumps(read_config(delta), indent=1, sort_keys=True)
    (folder / "adapter_config.json").write_text(text + "\n")


_PREFIX = "base_model.model."


@torch.no_grad()
def merge_connector(stage: Stage, scale: float) -> None:
    """M_i's connector as the LLM: aligned + scale·(tuned - aligned). The whole model is then one weighted average.

    The aligned connector has met θ_{i-1}, the tuned one θ_{i,vanilla}: in closed form, this is the one between.
    """
    name = stage.modality.name
    aligned = read_tensors(stage.work / "align_connector" / "connectors" / f"{name}.safetensors")
    for key, tuned in stage.model.embedder.connectors[name].named_parameters():
        start = aligned[key].to(tuned)
        tuned.copy_(start + scale * (tuned - start))
