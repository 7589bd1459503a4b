"""A real server on a loopback port, in a thread of the test's process, over a pico store."""

import asyncio
import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

import httpx
import uvicorn

from modalities.checkpoint import Store
from serving.api import create_app
from serving.live import Live
from tests import pico

STARTING = 240  # seconds; a vLLM on a busy machine is slow to come up


@dataclass(frozen=True)
class Running:
    """The server, as a client sees it, and what is inside it."""

    url: str
    http: httpx.Client
    live: Live
    loop: asyncio.AbstractEventLoop
    admin: dict[str, str]

    def ask(self, *parts: dict[str, str], **options: Any) -> httpx.Response:
        """POST /generate."""
        return self.http.post("/generate", json={"prompt": list(parts), **options})

    def deploy(self, checkpoint: str, override: str | None = "a test") -> httpx.Response:
        """POST /admin/deploy; most tests judge no checkpoint first."""
        body = {"checkpoint": checkpoint, "override": override}
        return self.http.post("/admin/deploy", json=body, headers=self.admin)

    @property
    def engine(self) -> Any:
        """The live engine."""
        return self.live.current.engine


@contextmanager
def serve(store: Store, checkpoint: str | None = None, **options: Any) -> Iterator[Running]:
    """A running server; ready when it was given a checkpoint."""
    app = create_app(store, checkpoint=checkpoint, **options)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="warning", timeout_graceful_shutdown=5))
    loops: list[asyncio.AbstractEventLoop] = []

    async def run(listener: socket.socket) -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve(sockets=[listener])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = Thread(target=lambda: asyncio.run(run(listener)), name="server")
        thread.start()
        try:
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
                until(lambda: server.started)
                if checkpoint is not None:
                    until(lambda: _ready(http), STARTING)
                token = (store.root / "admin-token").read_text().strip()
                yield Running(url, http, app.state.live, loops[0], {"Authorization": f"Bearer {token}"})
        finally:
            server.should_exit = True
            thread.join()


def _ready(http: httpx.Client) -> bool:
    answer = http.get("/readyz")
    assert "could not be loaded" not in answer.text, answer.text
    return answer.status_code == 200


def until(claim: Callable[[], object], seconds: float = 30) -> None:
    """Wait for a claim to come true."""
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "It never came true."
        time.sleep(0.01)


def tone(seed: int = 0) -> dict[str, str]:
    """A part with a .tone file."""
    return {"tone": base64.b64encode(pico.tone(seed)).decode()}


def text(words: str = "What do you hear?") -> dict[str, str]:
    """A part with text."""
    return {"text": words}


def events(body: str) -> list[dict[str, Any]]:
    """The events of a stream."""
    blocks = body.split("\n\n")
    assert blocks.pop() == "", "A stream ends with an empty line."
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]
