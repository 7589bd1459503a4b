"""Servers for bench/serve.py that run only when it is their turn."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx
import psutil

PATIENCE = 600  # seconds for a server to come up


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    process: psutil.Process

    def sleep(self) -> None:
        """Stop it and its children."""
        for one in self._all():
            one.suspend()

    def wake(self) -> None:
        """Let them go on."""
        for one in self._all():
            one.resume()

    @contextlib.contextmanager
    def turn(self) -> Iterator[str]:
        """Its address, for as long as it may run."""
        self.wake()
        yield self.url
        self.sleep()

    def end(self) -> None:
        """For good."""
        family = self._all()
        self.wake()
        self.process.terminate()
        for one in psutil.wait_procs(family, 60)[1]:
            one.kill()

    def _all(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextlib.contextmanager
def server(command: Sequence[str], path: str) -> Iterator[Server]:
    """A server, stopped once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    started = subprocess.Popen(
        [sys.executable, "-m", *command, "--port", str(port)], stdout=subprocess.DEVNULL, env={**os.environ, **quiet}
    )
    one, end = Server(f"http://127.0.0.1:{port}", psutil.Process(started.pid)), time.monotonic() + PATIENCE
    try:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(one.url + path, timeout=5, trust_env=False).status_code == 200:
                    break
            if started.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{' '.join(command[:3])} did not come up.")
            time.sleep(0.5)
        one.sleep()
        yield one
    finally:
        if started.poll() is None:
            one.end()
