"""One function over many jobs, on all cores, with a progress bar. It knows no job."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from tqdm import tqdm

Job = TypeVar("Job")


def spread(function: Callable[[Job], object], jobs: Sequence[Job], *, desc: str, unit: str) -> None:
    """Do every job, in any order; function and jobs must be picklable. The first error ends it and is raised.

    The processes come from a clean one: a fork of ours could inherit a lock that some thread of torch holds.
    """
    with (
        ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("forkserver")) as pool,
        tqdm(total=len(jobs), desc=desc, unit=unit) as bar,
    ):
        for _ in pool.map(function, jobs, chunksize=16):
            bar.update()
