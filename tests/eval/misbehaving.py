"""An OpenAI-compatible endpoint that misbehaves as a test tells it to, and a judge that asks it."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from eval.llm_judge import LanguageModel, Settings

Reply = tuple[int, Any, dict[str, str]]


class Misbehaving:
    """An OpenAI-compatible endpoint that does what a test tells it to, and counts who asks."""

    def __init__(self) -> None:
        self.behave: Callable[[int, str], Reply] = lambda _, __: says("{'pred': 'yes', 'score': 5}")
        self.asked: list[dict[str, Any]] = []
        self.most, self._now, self._lock = 0, 0, Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with outer._lock:
                    outer.asked.append(body)
                    number, outer._now = len(outer.asked), outer._now + 1
                    outer.most = max(outer.most, outer._now)
                status, content, headers = outer.behave(number, body["messages"][1]["content"])
                with outer._lock:
                    outer._now -= 1
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in ({"content-type": "application/json"} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who timed out hangs up
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


def says(text: str | None) -> Reply:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 300, "completion_tokens": 12, "total_tokens": 312}
    return (
        200,
        {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage},
        {},
    )


def judge(url: str, tmp_path: Path, replay: bool = False, **changes: Any) -> LanguageModel:
    plain: dict[str, Any] = {"base_url": url, "model": "m", "retries": 2, "backoff": 0.01, "timeout": 5.0}
    settings = Settings(**plain | changes)
    return LanguageModel(settings, tmp_path / "judge", replay)
