"""A small real server that speaks the HTTP interface: slow on purpose, so that an answer can be watched and stopped."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

IMAGE = {"name": "image", "media_types": ["image/png", "image/jpeg"], "suffixes": [".png", ".jpg"], "max_bytes": 10**6}
SOLID = {"name": "solid", "media_types": ["model/ply"], "suffixes": [".ply", ".stl"], "max_bytes": 10**7}


@dataclass
class Standin:
    """What the server says, and what it saw."""

    checkpoint: str = "0001-image-aaaa"
    modalities: list[dict[str, Any]] = field(default_factory=lambda: [IMAGE])
    words: list[str] = field(default_factory=lambda: ["a", " small", " unicorn", "."])
    pause: float = 0.0
    key: str | None = None
    problem: Any = None  # what "status … problem" tells in detail
    prompts: list[list[dict[str, str]]] = field(default_factory=list)
    cancelled: int = 0
    url: str = ""

    def app(self) -> FastAPI:
        """The routes that the chat calls."""
        app = FastAPI()

        @app.get("/modalities")
        async def modalities() -> dict[str, Any]:
            return {"checkpoint": self.checkpoint, "modalities": self.modalities}

        @app.post("/generate")
        async def generate(request: Request) -> Response:
            if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
                raise HTTPException(401, "no")
            body = await request.json()
            text = body["prompt"][-1]["text"]
            if text.startswith("status "):
                code, _, detail = text.removeprefix("status ").partition(" ")
                detail = self.problem if detail == "problem" else detail
                return JSONResponse({"detail": detail}, int(code), headers={"retry-after": "3"})
            self.prompts.append(body["prompt"])
            headers = {"x-checkpoint": self.checkpoint}
            return StreamingResponse(self._events(text), media_type="text/event-stream", headers=headers)

        return app

    async def _events(self, text: str) -> AsyncIterator[str]:
        checkpoint = self.checkpoint
        try:
            for word in self.words:
                await asyncio.sleep(self.pause)
                yield f"data: {json.dumps({'token': word})}\n\n"
                if text == "break off":
                    return
                if text == "fail":
                    yield f"data: {json.dumps({'error': {'message': 'The engine ran out of memory.'}})}\n\n"
                    return
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        done = {"text": "".join(self.words), "finish_reason": "stop", "checkpoint": checkpoint, "usage": {}}
        yield f"data: {json.dumps({'done': done})}\n\n"

    def media(self, index: int = -1) -> dict[str, bytes]:
        """The files of a prompt, by modality."""
        return {
            key: base64.b64decode(value) for part in self.prompts[index] for key, value in part.items() if key != "text"
        }


@contextmanager
def running(standin: Standin, port: int = 0) -> Iterator[Standin]:
    """The server on a free port of the loopback, in a thread."""
    config = uvicorn.Config(standin.app(), port=port, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "The stand-in server did not start."
        threading.Event().wait(0.01)
    standin.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield standin
    finally:
        server.should_exit = True
        thread.join()
