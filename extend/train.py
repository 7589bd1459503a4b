"""The one training loop, on accelerate. It does not know what it trains: the caller freezes and thaws.

Cosine decay with warm-up, gradient norm clipped to one, no weight decay (paper, Table 9).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from extend import RunError
from extend.data import batches, by_media
from extend.machine import accelerated, metered, parts, recomputing, within
from extend.processes import first, here, share
from extend.recipe import Machine
from extend.rounding import multiplies_bfloat16, rounded
from extend.sharding import is_sharded, trainee
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
    plan = [one for epoch in range(epochs) for one in batches(samples, batch, seed + epoch)]
    curve = Curve(phase, samples=sum(map(len, plan)))
    accelerator = accelerated(machine)
    if penalty is not None and is_sharded(accelerator):
        raise RunError("This method compares whole weights, which FSDP takes apart; train it without.")
    wanted = [parameter for parameters, _ in groups for parameter in parameters]
    with thawed(model, wanted, machine), trainee(model, accelerator) as learner:
        mine = dict(zip(model.parameters(), learner.parameters(), strict=True))
        rates = [{"params": [mine[p] for p in parameters], "lr": lr} for parameters, lr in groups]
        optimizer: Any = torch.optim.AdamW(rates, weight_decay=0.0)
        schedule: Any = get_cosine_schedule_with_warmup(optimizer, round(warmup * len(plan)), len(plan))
        prepared, optimizer, schedule = accelerator.prepare(learner, optimizer, schedule)
        able = learner is model and model.device.type == "cpu" and multiplies_bfloat16()
        quick = machine.rounded and machine.precision == "float32" and able
        steps = tqdm(plan, desc=phase, unit="step", disable=not first())
        with metered() as cost, rounded(model.llm, quick), steps as bar:
            shown = None
            for chunk in bar:
                value = _gradients(accelerator, prepared, _bites(model, chunk, machine), penalty)
                _leave_out(learner.embedder.connectors, chunk)
                accelerator.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                curve.losses.append(value)
                shown = value if shown is None else SMOOTHING * shown + (1 - SMOOTHING) * value
                bar.set_postfix(loss=f"{shown:.3f}")
    curve.seconds, curve.cpu_seconds, curve.peak_bytes = cost.seconds, cost.cpu_seconds, cost.peak_bytes
    return curve


@contextmanager
def thawed(model: MLLM, wanted: Sequence[nn.Parameter], machine: Machine) -> Iterator[None]:
    """Inside, these parameters can be trained and nothing else."""
    for parameter in wanted:
        parameter.requires_grad_(True)
    model.embedder.connectors.train()
    recomputing(model.llm, machine.checkpointing)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(False)
        model.embedder.connectors.eval()
        recomputing(model.llm, False)


def _gradients(
    accelerator: Accelerator,
    model: Any,
    bites: Sequence[Sequence[Sample]],
    penalty: Callable[[], torch.Tensor] | None,
) -> float:
    """Add up the gradients of a batch, bite by bite; returns its loss.

    Each process takes its share of a bite. They average their gradients, so a share weighs as many times more.
    """
    value, processes = 0.0, accelerator.num_processes
    size = sum(map(len, bites))
    for bite in bites:
        mine = share(bite)
        loss = model(mine or bite[:1]) * (processes * len(mine) / size)  # who has nothing still takes part
        accelerator.backward(loss)
        value += loss.item()
    if penalty is not None:
        accelerator.backward(penalty())
    if processes > 1:
        value = accelerator.reduce(torch.tensor(value, device=accelerator.device), "mean").item()
    return value


def _bites(model: MLLM, chunk: Sequence[Sample], machine: Machine) -> list[Sequence[Sample]]:
    """What of a batch is in memory at once. What is asked about one file stays together where only tokens count."""
    processes = here().num_processes
    bites = parts(chunk, machine.micro and machine.micro * processes)
    if machine.tokens is None:
        return bites
    cut: list[Sequence[Sample]] = []
    for bite in bites:
        groups = by_media(bite)
        costs = [sum(len(row.ids) for row in model.rows(group)) for group in groups]
        cut += within(groups, costs, machine.tokens * processes)
    return cut


def _leave_out(connectors: nn.ModuleDict, chunk: Sequence[Sample]) -> None:
    """A connector that a batch does not need has no gradient, so that the optimizer leaves it where it is."""
    shown = {part.modality for one in chunk for part in one.prompt} & connectors.keys()
    needed = {parameter for name in shown for parameter in connectors[name].parameters()}
    for parameter in connectors.parameters():
        if parameter not in needed:
            parameter.grad = None
