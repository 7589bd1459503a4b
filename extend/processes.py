"""One process or several, as `accelerate launch` started them: who writes, who waits, who takes which share.

Every process runs the whole command, on one disk. All train together; the first alone holds the lock and writes what
a phase left, and the others read that. It knows no phase and no modality.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from modalities.checkpoint import aside

PATIENCE = timedelta(hours=12)  # with the slowest: one may have much longer files to encode than the others

T = TypeVar("T")


def here() -> PartialState:
    """This process among the others."""
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=PATIENCE)


def first() -> bool:
    """Whether this is the process that writes and speaks."""
    return bool(here().is_main_process)


def together() -> None:
    """Wait until every process is here."""
    here().wait_for_everyone()


def share(items: Sequence[T]) -> Sequence[T]:
    """This process's part of what all have to do; neighbours stay together. It may be empty."""
    rank, count = here().process_index, here().num_processes
    return items[rank * len(items) // count : (rank + 1) * len(items) // count]


@contextmanager
def kept(target: Path) -> Iterator[Path]:
    """A folder to fill; the first process's becomes `target` as a whole, the others' are thrown away."""
    if first():
        shutil.rmtree(target, ignore_errors=True)
        with aside(target) as folder:
            yield folder
    else:
        with TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
            yield Path(name)
