"""The one training loop, on accelerate. It does not know what it trains: the caller freezes and thaws.

Cosine decay with warm-up, gradient norm clipped to one, no weight decay (paper, Table 9).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from extend.amx import has_amx, rounded
from extend.data import batches
from extend.machine import accelerated, metered, parts, recomputing
from extend.recipe import Machine
from modalities.base import Sample
from modalities.mllm import MLLM

SMOOTHING = 0.95  # of the loss that the progress bar shows


@dataclass
class Curve:
    """What a phase cost and how its loss fell; one loss a step."""

    phase: str
    samples: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    losses: list[float] = field(default_factory=list)


def train(
    model: MLLM,
    phase: str,
    samples: Sequence[Sample],
    groups: Sequence[tuple[Sequence[nn.Parameter], float]],
    *,
    batch: int,
    epochs: int,
    warmup: float,
    seed: int,
    machine: Machine = Machine(),  # noqa: B008 - frozen
    penalty: Callable[[], torch.Tensor] | None = None,
) -> Curve:
    """Train the parameter groups (parameters, learning rate) on the samples; everything else stays as it is."""
    wanted = [parameter for parameters, _ in groups for parameter in parameters]
    plan = [one for epoch in range(epochs) for one in batches(samples, batch, seed + epoch)]
    optimizer: Any = torch.optim.AdamW([{"params": list(p), "lr": lr} for p, lr in groups], weight_decay=0.0)
    schedule: Any = get_cosine_schedule_with_warmup(optimizer, round(warmup * len(plan)), len(plan))
    accelerator = accelerated(machine)
    prepared, optimizer, schedule = accelerator.prepare(model, optimizer, schedule)
    curve = Curve(phase, samples=sum(map(len, plan)))
    shown = None
    for parameter in wanted:
        parameter.requires_grad_(True)
    model.embedder.connectors.train()
    recomputing(model.llm, machine.checkpointing)
    try:
        quick = machine.amx and machine.precision == "float32" and model.device.type == "cpu" and has_amx()
        with metered() as cost, rounded(model.llm, quick), tqdm(plan, desc=phase, unit="step") as bar:
            for chunk in bar:
                value = 0.0
                for part in parts(chunk, machine.micro):
                    loss = prepared(part) * (len(part) / len(chunk))
                    accelerator.backward(loss)
                    value += loss.item()
                if penalty is not None:
                    accelerator.backward(penalty())
                accelerator.clip_grad_norm_(wanted, 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                curve.losses.append(value)
                shown = value if shown is None else SMOOTHING * shown + (1 - SMOOTHING) * value
                bar.set_postfix(loss=f"{shown:.3f}")
    finally:
        for parameter in wanted:
            parameter.requires_grad_(False)
        model.embedder.connectors.eval()
        recomputing(model.llm, False)
    curve.seconds, curve.cpu_seconds, curve.peak_bytes = cost.seconds, cost.cpu_seconds, cost.peak_bytes
    return curve
