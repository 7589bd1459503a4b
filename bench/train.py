"""How fast is training? The encoder pass, then our own loop against the plain Hugging Face Trainer, in one run.

    python bench/train.py --store store --modality image --recipe embedded --turns 5 --steps 16

All train the same backbone with the same LoRA, connector, optimizer and schedule, on the same samples, as many a step.
They have a process each and take turns, so that a slow minute of the machine hits each alike; a turn is a whole short
training. The Trainer gets what one would write for it: one padded row a sample, tokenized before, features out of the
encoder cache, PEFT, all in float32; batches drawn at random, or of like lengths (train_sampling_strategy). Before the
first turn both have to say the same loss of the same batch. Prints JSON: files and samples a second as medians over
the turns, the ratios turn by turn, and each process's peak memory while it trains.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hf_trainer import Theirs

from extend.adapter import Adapter
from extend.data import batches, by_media, draw, thin
from extend.recipe import Recipe, load
from extend.run import RESIDENT
from extend.train import train
from modalities.assemble import bare
from modalities.base import TEXT, Part, Sample, find
from modalities.checkpoint import Store
from modalities.features import Features
from modalities.mllm import MLLM

OURS: dict[str, dict[str, Any]] = {"Polymera": {}, "Polymera, nothing rounded": {"rounded": False}}
THEIRS: dict[str, dict[str, Any]] = {
    "Trainer": {},
    "Trainer, by length": {"train_sampling_strategy": "group_by_length"},
}
IN_BFLOAT16 = {"Trainer, by length, bf16": {"train_sampling_strategy": "group_by_length", "bf16": True}}
AGREED = 1e-4  # by how much two losses of one batch may differ, in float32


@dataclass(frozen=True)
class Job:
    """What every process starts from."""

    store: Path
    features: Path
    modality: str
    recipe: Recipe

    def model(self) -> MLLM:
        """θ_0 with a new connector, the same each time."""
        torch.manual_seed(self.recipe.seed)
        model = bare(Store(self.store), self.recipe.base_llm, self.recipe.system)
        model.embedder.features = Features(self.features, RESIDENT)
        model.embedder.add(find(self.modality))
        return model


@dataclass(frozen=True)
class Turn:
    """What one turn cost."""

    rate: float  # samples a second
    peak_bytes: int


class Ours:
    """`extend`'s loop, as its tune phase calls it."""

    def __init__(self, job: Job, rounded: bool | None = None) -> None:
        machine = job.recipe.machine
        self.machine = machine if rounded is None else machine.model_copy(update={"rounded": rounded})
        self.recipe = job.recipe
        self.model = job.model()
        self.adapter = Adapter(self.model.llm, job.recipe.lora).__enter__()  # for as long as the process lives

    def loss(self, samples: Sequence[Sample]) -> float:
        """Of one batch; nothing is learned."""
        with torch.no_grad():
            return self.model.loss(samples).item()

    def train(self, samples: Sequence[Sample]) -> tuple[float, int]:
        """One epoch; samples a second and the process's peak in bytes."""
        tune, warmup = self.recipe.tune, self.recipe.warmup
        connectors = list(self.model.embedder.connectors.parameters())
        assert tune.lr_llm is not None, "A recipe's tune phase needs lr_llm."
        groups = [(connectors, tune.lr_connector), (self.adapter.parameters, tune.lr_llm)]
        curve = train(
            self.model, "tune", samples, groups, batch=tune.batch, epochs=1, warmup=warmup, seed=0, machine=self.machine
        )
        return curve.samples / curve.seconds, curve.peak_bytes


SIDE: Any = None  # of the process that this is


def become(job: Job, name: str) -> None:
    """Start a process."""
    global SIDE
    theirs = THEIRS | IN_BFLOAT16
    SIDE = Theirs(job.model(), job.recipe, **theirs[name]) if name in theirs else Ours(job, **OURS[name])


def loss(samples: Sequence[Sample]) -> float:
    """Its loss."""
    return float(SIDE.loss(samples))


def turn(samples: Sequence[Sample]) -> Turn:
    """Its turn."""
    return Turn(*SIDE.train(samples))


def encode(job: Job, slices: Sequence[Sequence[Part]]) -> list[tuple[float, float]]:
    """Files a second of each slice: never seen before, and from the cache on disk."""
    embedder, rates = job.model().embedder, []
    for parts in slices:
        began = time.perf_counter()
        embedder.encode(parts)
        encoded = time.perf_counter()
        embedder.features = Features(job.features, RESIDENT)  # one that has nothing in memory
        for part in parts:
            embedder.media(part)
        rates.append((len(parts) / (encoded - began), len(parts) / (time.perf_counter() - encoded)))
    return rates


def files(samples: Sequence[Sample]) -> list[Part]:
    """The media that samples are about, each once."""
    return list(dict.fromkeys(part for sample in samples for part in sample.prompt if part.modality != TEXT))


def portions(job: Job, count: int, size: int) -> Iterator[list[Sample]]:
    """What a tune phase is shown, in portions of at least so many samples with no file in two; about one file each."""
    made = find(job.modality).datasets(job.store)
    tune, seed = job.recipe.tune, job.recipe.seed
    samples = thin(draw([one for each in made for one in each.train], tune.share, seed), tune.captions, seed)
    groups = by_media([one for one in samples if len(files([one])) == 1])
    Random(seed).shuffle(groups)
    left = iter(groups)
    for _ in range(count):
        portion: list[Sample] = []
        while len(portion) < size:
            group = next(left, None)
            if group is None:
                raise SystemExit("Too few samples for so many turns; lower --turns or --steps.")
            portion += group
        yield portion


def run(options: argparse.Namespace, features: Path) -> dict[str, Any]:
    """The whole measurement."""
    job = Job(options.store, features, options.modality, load(options.recipe))
    batch, seed = job.recipe.tune.batch, job.recipe.seed
    work = list(portions(job, options.turns + 1, options.steps * batch))
    names = [*OURS, *THEIRS, *(IN_BFLOAT16 if options.bf16 else ())]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as alone:
        encoded = alone.submit(encode, job, [files(samples) for samples in work]).result()[1:]  # the first warms up
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    with ExitStack() as stack:
        up = {
            name: stack.enter_context(ProcessPoolExecutor(1, spawn, initializer=become, initargs=(job, name)))
            for name in names
        }
        first = batches(work[0], batch, seed)[0]
        losses = {name: pool.submit(loss, first).result() for name, pool in up.items()}
        if max(losses.values()) - min(losses.values()) > AGREED:
            raise SystemExit(f"They do not compute the same: {losses}.")
        for number, samples in enumerate(work):
            for name in names if number % 2 else reversed(names):
                seen = up[name].submit(turn, samples).result()
                if number:  # the first round warms up
                    turns[name].append(seen)
                    print(f"{number} {name}: {seen.rate:.2f} samples/s", file=sys.stderr)
    return {
        "modality": options.modality,
        "recipe": options.recipe,
        "batch": batch,
        "turns": options.turns,
        "samples a turn": round(statistics.mean(map(len, work[1:]))),
        "files a turn": round(statistics.mean(len(files(samples)) for samples in work[1:])),
        "files a second": {
            name: round(statistics.median(rates), 1)
            for name, rates in zip(("encoded", "from the cache"), zip(*encoded, strict=True), strict=True)
        },
        "loss of the first batch": {name: round(value, 6) for name, value in losses.items()},
        "samples a second": {
            name: round(statistics.median(one.rate for one in seen), 2) for name, seen in turns.items()
        },
        "peak memory, MiB": {name: round(max(one.peak_bytes for one in seen) / 2**20) for name, seen in turns.items()},
        "ratios of samples a second": {
            f"{ours} over {theirs}": round(
                statistics.median(a.rate / b.rate for a, b in zip(turns[ours], turns[theirs], strict=True)), 3
            )
            for ours in OURS
            for theirs in names
            if theirs not in OURS
        },
    }


def main() -> None:
    """Encode, then let them train in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--store", type=Path, default=Path("store"), help="for the backbone and the data")
    parser.add_argument("--modality", default="image", metavar="NAME")
    parser.add_argument("--recipe", default="embedded", metavar="NAME|FILE")
    parser.add_argument("--turns", type=int, default=5, help="of each, after one that warms up")
    parser.add_argument("--steps", type=int, default=16, help="a turn")
    parser.add_argument("--bf16", action="store_true", help="also the Trainer with bf16=True")
    with TemporaryDirectory(prefix="features-") as features:
        json.dump(run(parser.parse_args(), Path(features)), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
