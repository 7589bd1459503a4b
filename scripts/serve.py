"""Starts the API and the chat side by side and ends both together, whichever way one of them ends.

It knows two commands and their addresses: no model, no checkpoint, no request.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 40.0  # seconds for a program to end by itself: more than the API gives to requests in flight


class Stop(Exception):
    """Somebody wants it all to end: Ctrl-C, `kill`, a closed terminal."""


def stop(_signum: int, _frame: FrameType | None) -> NoReturn:
    """Turn the first signal into an exception, wherever the main loop stands; the next ones find it ending already.

    `make` hands on what its whole group has got, so they come in twos.
    """
    ignore()
    raise Stop


def ignore() -> None:
    """From here on nobody needs to say that it ends."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def ready(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:  # not there yet, or there and not ready
        return False


def watch(programs: dict[str, subprocess.Popen[bytes]], probes: list[str], welcome: str) -> int:
    """Print `welcome` once all probes answer; return when a program has ended by itself."""
    announced = False
    while True:
        for name, program in programs.items():
            if program.poll() is not None:
                print(f"The {name} ended with exit code {program.returncode}; so does the rest.", file=sys.stderr)
                return program.returncode or 1
        if not announced and all(map(ready, probes)):
            announced = True
            print(welcome, file=sys.stderr, flush=True)
        time.sleep(0.3)


def end(programs: dict[str, subprocess.Popen[bytes]]) -> None:
    """Ask each program's group to end, then make it."""
    for program in programs.values():
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    for program in programs.values():
        try:
            program.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()


def main() -> int:
    """Start both, watch, end both."""
    parser = argparse.ArgumentParser(description="Start the API and the chat; both end together.")
    parser.add_argument("--host", default="127.0.0.1", help="the address that both listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="the API's port (default: %(default)s)")
    parser.add_argument("--ui-port", type=int, default=7860, help="the chat's port (default: %(default)s)")
    options = parser.parse_args()
    near = "127.0.0.1" if options.host in ("0.0.0.0", "::") else options.host
    api, chat = f"http://{near}:{options.port}", f"http://{near}:{options.ui_port}"
    commands = {
        "API": ["serving", "--host", options.host, "--port", str(options.port)],
        "chat": ["ui", "--host", options.host, "--port", str(options.ui_port), "--server", api],
    }
    for signum in SIGNALS:
        signal.signal(signum, stop)
    programs: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            # In a group of its own, so that Ctrl-C reaches only this program, which then ends them in order.
            programs[name] = subprocess.Popen([sys.executable, "-m", *command], start_new_session=True)
        return watch(programs, [f"{api}/readyz", chat], f"\n  Chat  {chat}\n  API   {api}\n  Ctrl-C ends both.\n")
    except Stop:
        return 0
    finally:
        with suppress(Stop):
            ignore()
        end(programs)


if __name__ == "__main__":
    sys.exit(main())
