"""Who works when: experts first, then the runs, each stage after the one before; as many at once as memory allows.

Every piece of work is a process. It shows a live table on standard error. It knows no score.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import torch
from rich.console import Console
from rich.live import Live
from rich.table import Table

from eval.report import Report
from extend import RunError, run
from extend.study.grid import Grid, Work
from extend.study.work import described

ROOM = 1.5  # of the experts' peak, for each process: later stages hold more
PATIENCE = 0.2  # seconds between two looks at the processes


class Conductor:
    """The queues of a study: each is a list of works, of which the next may start when the one before is done."""

    def __init__(self, grid: Grid, jobs: int | None) -> None:
        self.grid = grid
        self.jobs = jobs
        self.failed: dict[str, str] = {}  # label -> the last line of its log
        self._running: dict[int, tuple[Work, subprocess.Popen[bytes], IO[bytes]]] = {}  # by queue

    def conduct(self, queues: Sequence[list[Work]], title: str) -> None:
        """Work all queues off. What failed ends its queue and no other."""
        left = [[one for one in queue if not self.grid.done(one)] for queue in queues]
        if not any(left):
            return
        if self.jobs is None:
            self.jobs = self._room(queues)
        console = Console(stderr=True)
        with Live(self._table(queues, title), console=console, refresh_per_second=2) as live:
            try:
                while any(left) or self._running:
                    self._start(left)
                    time.sleep(PATIENCE)
                    if self._collect(left):
                        live.update(self._table(queues, title))
            finally:
                for _, process, log in self._running.values():
                    process.kill()
                    process.wait()
                    log.close()
                self._running.clear()

    def _start(self, left: list[list[Work]]) -> None:
        """As many as there is room for; a stage that two runs share is made by one of them."""
        for place, queue in enumerate(left):
            under_way = {work.label for work, _, _ in self._running.values()}
            free = place not in self._running and queue and queue[0].label not in under_way
            if free and len(self._running) < (self.jobs or 1):
                if self.grid.done(queue[0]):  # another run has made it meanwhile
                    queue.pop(0)
                    continue
                self._running[place] = (queue[0], *self._process(queue[0]))

    def _process(self, work: Work) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        log = self.grid.out / "logs" / f"{work.label}.log"
        log.parent.mkdir(exist_ok=True)
        stream = log.open("wb")
        environment = os.environ | {"OMP_NUM_THREADS": str(self.grid.study.threads)}
        command = [sys.executable, "-m", "extend.study.work", described(self.grid.out, work)]
        pipe = subprocess.PIPE  # it holds the other end: when this process dies, so does the work
        return subprocess.Popen(command, stdin=pipe, stdout=stream, stderr=stream, env=environment), stream

    def _collect(self, left: list[list[Work]]) -> bool:
        """Note what has ended; whether anything has."""
        ended = [place for place, (_, process, _) in self._running.items() if process.poll() is not None]
        for place in ended:
            work, process, log = self._running.pop(place)
            log.close()
            if process.stdin:
                process.stdin.close()
            if process.returncode == 0 and self.grid.done(work):
                left[place].pop(0)
            else:
                self.failed[work.label] = _last_line(Path(log.name))
                left[place].clear()
        return bool(ended)

    def _table(self, queues: Sequence[list[Work]], title: str) -> Table:
        """One row a queue: what is done of it, with the Relative Gains in per cent."""
        table = Table(title=f"{title}: {self.grid.out.name}", title_justify="left")
        for name in ("seed", "method", "order", *(f"stage {i}" for i in range(1, 1 + max(map(len, queues))))):
            table.add_column(name)
        under_way = {work.label for work, _, _ in self._running.values()}
        for queue in queues:
            order = " → ".join(name.rpartition(".")[2] for name in queue[-1].order)
            cells = [self._cell(work, under_way) for work in queue]
            table.add_row(str(queue[0].seed), queue[0].variant, order, *cells)
        return table

    def _cell(self, work: Work, under_way: set[str]) -> str:
        if work.label in self.failed:
            return "failed"
        if work.label in under_way:
            return "…"
        if work.kind == "serve":
            return "done" if self.grid.done(work) else ""
        report = self.grid.report(work)
        return "" if report is None else _gains(report)

    def _room(self, queues: Sequence[list[Work]]) -> int:
        """How many processes the memory has room for, by what their first stages took; one for each core at most."""
        peaks = [0]
        for work in (queue[0] for queue in queues):
            if (id := self.grid.made(work)) is not None:
                peaks += [curve.get("peak_bytes", 0) for curve in run.figures(self.grid.store(work.seed), id)["phases"]]
        free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else available()
        return max(1, min(os.cpu_count() or 1, int(free // (ROOM * max(peaks)))) if max(peaks) else 1)


def available() -> int:
    """Bytes of memory that a new process may take without making others swap; 0 where the kernel does not tell."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    return 0


def say_failures(failed: dict[str, str]) -> None:
    """Raises RunError that names what failed first, and its log."""
    if failed:
        label, line = next(iter(failed.items()))
        raise RunError(
            f"{len(failed)} of the runs stopped; first {label}: {line} (logs/{label}.log). The same command goes on."
        )


def _gains(report: Report) -> str:
    return " ".join(f"{100 * gain:.0f}" for gain in report.gains.relative.values()) or "unscored"


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
