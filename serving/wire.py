"""HTTP mechanics that no framework part does as needed here: bodies with a limit, clients that leave, event streams.

It knows requests and responses, not what they are about.
"""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, aclosing
from types import TracebackType
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import Busy, TooLarge, TooLate, TooSlow, tell

BODY_SECONDS = 120
PROBES = {"/healthz", "/readyz", "/metrics"}  # asked every few seconds by machines
LEFT = 499  # what is counted when the client did not wait for a status

log = logging.getLogger(__name__)

T = TypeVar("T")


async def read(request: Request, limit: int) -> bytes:
    """The body, at most `limit` bytes of it. Raises TooLarge and TooSlow."""
    too_large = TooLarge(f"The body may have {limit} bytes; send fewer or smaller files.")
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise TooSlow(f"The body did not arrive within {BODY_SECONDS} seconds; send it again.") from None
    return bytes(body)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The work's result. When the client leaves, the work is cancelled and ClientDisconnect raised."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


class Deadline:
    """When a request must be done: so many seconds from now."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = asyncio.get_running_loop().time() + seconds

    async def of(self, work: Awaitable[T]) -> T:
        """The work's result. Raises TooLate, and cancels the work."""
        try:
            async with asyncio.timeout_at(self._at) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            raise TooLate(
                f"The answer was not whole within {self._seconds:g} seconds; ask for fewer tokens, or give a longer "
                "timeout."
            ) from None

    async def each(self, stream: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """The same items, as long as they come in time; then the stream is closed and TooLate raised."""
        async with aclosing(stream) as items:
            while True:
                try:
                    item = await self.of(anext(items))
                except StopAsyncIteration:
                    return
                yield item


class EventStream(Response):
    """Server-sent events, one JSON object each, then `last` as it is. `holding` is released however the stream ends."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[Mapping[str, Any], None],
        holding: AbstractContextManager[object],
        last: str | None = None,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._holding = holding
        self._last = b"" if last is None else f"data: {last}\n\n".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send every event, unless the client leaves before."""
        del scope
        with self._holding:
            await while_connected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._events) as events:
            async for event in events:
                line = f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
                await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": self._last, "more_body": False})


class Turnstile:
    """Lets so many requests in at once; the next is told to come again."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.inside = 0

    def __enter__(self) -> None:
        if self.inside >= self._limit:
            raise Busy(f"{self.inside} requests are being answered or wait already; send this one again in a second.")
        self.inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inside -= 1


class Envelope:
    """Around every request: an id, the checkpoint's name on the answer, and an answer even where there is a bug."""

    def __init__(
        self, app: ASGIApp, live_id: Callable[[], str | None], count: Callable[[str, int, str | None], None]
    ) -> None:
        self._app = app
        self._live_id = live_id
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`request.state.checkpoint`, where a route sets it, goes before the live one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = uuid.uuid4().hex[:12]
        state["began"] = began = time.perf_counter()
        begun, status, by = False, 500, None

        async def seal(message: Message) -> None:
            nonlocal begun, status, by
            if message["type"] == "http.response.start":
                begun, status = True, message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = state["request_id"]
                by = state.get("checkpoint") or self._live_id()
                if by is not None:
                    headers["X-Checkpoint"] = by
            await send(message)

        try:
            await self._app(scope, receive, seal)
        except ClientDisconnect:
            status = LEFT
        except Exception as error:
            told = tell(error, state["request_id"])
            if not begun:
                await told.response()(scope, receive, seal)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._count(route, status, by)
            took = 1000 * (time.perf_counter() - began)
            log.info(
                "request=%s route=%s status=%d checkpoint=%s ms=%.0f", state["request_id"], route, status, by, took
            )
