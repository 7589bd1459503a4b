"""The HTTP client of the chat: what is live, and an answer as it is written.

It knows routes and errors, not what a page is. Every failure is a `ServerError` whose message is a sentence
for the person in front of the screen.
"""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict

# A model on two cores may think for a while before its first token; a dead server is noticed at once.
TIMEOUT = httpx.Timeout(5, read=300)
POLL_TIMEOUT = httpx.Timeout(5)


class ServerError(Exception):
    """The server is away, busy or said no. The message can be shown as it is."""


class Sense(BaseModel):
    """One kind of input that the live checkpoint understands."""

    model_config = ConfigDict(frozen=True)

    name: str
    media_types: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    max_bytes: int


class Live(BaseModel):
    """The answer of GET /modalities."""

    model_config = ConfigDict(frozen=True)

    checkpoint: str
    modalities: tuple[Sense, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer. The last one carries the reason why the answer ended."""

    text: str
    checkpoint: str
    finish_reason: str | None = None


class Client:
    """Talks to one server; made once, shared by all who chat."""

    def __init__(self, server: str, api_key: str | None = None) -> None:
        self.server = server.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # The server is near: a proxy from the environment would only stand in the way.
        self._http = httpx.AsyncClient(base_url=self.server, headers=headers, timeout=TIMEOUT, trust_env=False)

    async def live(self) -> Live:
        """The live checkpoint and its senses."""
        with self._sentences():
            response = await self._http.get("/modalities", timeout=POLL_TIMEOUT)
            _raise_for(response)
            return Live.model_validate_json(response.content)

    async def stream(self, prompt: Sequence[Mapping[str, str]]) -> AsyncGenerator[Piece, None]:
        """The answer, piece by piece. Closing the iterator closes the connection, which cancels the answer."""
        body = {"prompt": list(prompt), "stream": True}
        with self._sentences():
            async with self._http.stream("POST", "/generate", json=body) as response:
                if response.is_error:
                    await response.aread()
                    _raise_for(response)
                checkpoint = response.headers.get("x-checkpoint", "")
                async for line in response.aiter_lines():
                    if not line.startswith("data:"):
                        continue
                    piece = _piece(json.loads(line.removeprefix("data:")), checkpoint)
                    yield piece
                    if piece.finish_reason is not None:
                        return
            raise httpx.RemoteProtocolError("The stream ended without its last event.")

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._http.aclose()

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turns what may go wrong on the way into a sentence that names the cure."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise ServerError(
                f"No server answers at {self.server}. Is it running? Start it (`make serve`), then send again."
            ) from None
        except httpx.TimeoutException:
            raise ServerError(f"The server at {self.server} took too long to answer. Please try again.") from None
        except (httpx.TransportError, httpx.StreamError):
            raise ServerError("The connection to the server broke off. Please send your question again.") from None
        except (ValueError, KeyError, TypeError):
            raise ServerError(
                f"What answers at {self.server} does not speak as a Polymera server does; check --server."
            ) from None


def _piece(event: dict[str, Any], checkpoint: str) -> Piece:
    """One event of the stream: a token, an error, or the end."""
    if "error" in event:
        raise ServerError(_words(event) or "The server could not finish this answer. Please try again.")
    if "done" in event:
        done = event["done"]
        return Piece("", done.get("checkpoint") or checkpoint, done.get("finish_reason") or "stop")
    return Piece(event["token"], checkpoint)


def _raise_for(response: httpx.Response) -> None:
    """Raises the sentence of an error response; what the server says of a bad request is shown as it is."""
    if not response.is_error:
        return
    try:
        words = _words(response.json())
    except ValueError:
        words = ""
    match response.status_code:
        case 401 | 403:
            raise ServerError("The server asks for an API key: set POLYMERA_API_KEY and start the chat again.")
        case 404 | 405:
            raise ValueError("There is no such route.")
        case 429:
            wait = response.headers.get("retry-after", "")
            again = f"in {wait} seconds" if wait.isdigit() else "in a moment"
            raise ServerError(f"The server is busy with other questions. Please send yours again {again}.")
        case 503:
            raise ServerError(words or "The server is not ready yet. Please try again in a moment.")
        case code if code < 500 and words:
            raise ServerError(words)
        case code:
            raise ServerError(f"The server failed (HTTP {code}){': ' + words if words else '.'}")


def _words(body: Any) -> str:
    """The message in an error body, wherever it stands: {"detail": …}, {"error": {"message": …}}, pydantic's list."""
    match body:
        case str():
            return body
        case {"error": inner} | {"detail": inner} | {"message": inner}:
            return _words(inner)
        case [*problems] if problems:
            return "; ".join(filter(None, map(_words, problems)))
        case {"msg": str(message), "loc": [*where]}:
            return f"{'.'.join(map(str, where))}: {message}"
        case {"msg": str(message)}:
            return message
    return ""
