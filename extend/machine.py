"""How training uses the machine: precision, recomputation, small bites of a batch. It knows no phase and no modality.

Everything else (device, one process or more, sharded or not) is accelerate's, by its own configuration.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, process_time
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from extend import RunError
from extend.recipe import Machine
from extend.sharding import is_sharded

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MIXED = {"float32": None, "bfloat16": "bf16", "float16": "fp16"}  # None: as accelerate is configured
OTHERS = (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM, DistributedType.XLA)

T = TypeVar("T")


@dataclass
class Meter:
    """What a piece of work cost, once it is done."""

    seconds: float = 0.0  # on the clock
    cpu_seconds: float = 0.0  # of all threads together
    peak_bytes: int = 0  # of the process at its largest; with a GPU, of the GPU's memory


@contextmanager
def metered() -> Iterator[Meter]:
    """Measures what is done inside."""
    meter, began, busy = Meter(), monotonic(), process_time()
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):  # "5" sets the high-water mark back; where it can't be, the peak is the process's
            Path("/proc/self/clear_refs").write_text("5")
    yield meter
    if gpu:
        torch.cuda.synchronize()
    meter.seconds, meter.cpu_seconds = monotonic() - began, process_time() - busy
    meter.peak_bytes = torch.cuda.max_memory_allocated() if gpu else _high_water()


def _high_water() -> int:
    """The most memory that this process has held, in bytes; 0 where the kernel does not tell."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return 0


def accelerated(machine: Machine) -> Accelerator:
    """Accelerate as the recipe and the user's own configuration want it. Raises RunError."""
    if machine.precision == "float16" and not torch.cuda.is_available():
        raise RunError("Training in float16 needs a GPU; set machine.precision to bfloat16 or float32 in the recipe.")
    AcceleratorState._reset_state(reset_partial_state=True)  # two trainings of one process may differ in precision
    accelerator = Accelerator(
        mixed_precision=MIXED[machine.precision],
        dataloader_config=DataLoaderConfiguration(
            split_batches=True
        ),  # the schedule moves once a step, not per process
    )
    kind = accelerator.distributed_type
    if kind in OTHERS or (is_sharded(accelerator) and not accelerator.is_fsdp2):
        raise RunError(
            f"accelerate is configured for {kind.value}; extend trains in one process, in several, or with FSDP 2: "
            "run `accelerate config` again, or set fsdp_version: 2 in its file."
        )
    return accelerator


def recomputing(llm: Any, wanted: bool) -> None:
    """Turn recomputation of activations on or off. transformers does it in training mode only."""
    if wanted:
        llm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    else:
        llm.gradient_checkpointing_disable()
    llm.train(wanted)


def parts(samples: Sequence[T], size: int | None) -> list[Sequence[T]]:
    """A batch in bites of `size` samples, or as a whole."""
    size = size or len(samples)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def within(groups: Sequence[Sequence[T]], costs: Sequence[int], limit: int) -> list[list[T]]:
    """Groups of samples, none of them cut, in bites that cost at most `limit` together; one alone may cost more."""
    bites: list[list[T]] = []
    room = 0
    for group, cost in zip(groups, costs, strict=True):
        if not bites or cost > room:
            bites.append([])
            room = limit
        bites[-1] += group
        room -= cost
    return bites
