"""POST /v1/chat/completions and GET /v1/models: what the `openai` client calls.

The same answers as /generate in another form, errors included. It knows no modality and no engine.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, aclosing
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from modalities.checkpoint import MANIFEST, Store
from serving import schema
from serving.deployment import Chunk, Deployment, Usage
from serving.errors import tell
from serving.live import Live
from serving.metrics import Metrics
from serving.openai_schema import ChatRequest, turns
from serving.wire import Deadline, EventStream, Turnstile, read, while_connected


class _Told(APIRoute):
    """A route whose errors have OpenAI's form."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handler = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await handler(request)
            except ClientDisconnect:
                raise
            except Exception as error:
                return _error(error, request.state.request_id)

        return told


def openai_routes(store: Store, live: Live, turnstile: Turnstile, metrics: Metrics) -> APIRouter:
    """The routes, over what is live."""
    router = APIRouter(prefix="/v1", route_class=_Told)

    @router.post("/chat/completions", openapi_extra=schema.json_body(ChatRequest))
    async def chat(request: Request) -> Response:
        """Go on with a conversation of text and media; with `stream`, as server-sent events."""
        with ExitStack() as held:
            held.enter_context(turnstile)
            body = await read(request, schema.body_limit(live.current.embedder.modalities))
            wanted = await asyncio.to_thread(schema.parse, ChatRequest, body)
            del body
            wanted.check()
            sampling, deadline = wanted.sampling(), Deadline(wanted.timeout)
            deployment = held.enter_context(live.lease(wanted.checkpoint))
            request.state.checkpoint = deployment.checkpoint.id
            spoken = await asyncio.to_thread(turns, wanted, deployment.embedder.modalities)
            prompt = await while_connected(request.receive, deadline.of(deployment.converse(spoken)))
            answer = _Answer(deployment, request.state.request_id)
            said = deadline.each(deployment.generate(prompt, sampling))
            chunks = metrics.timed(said, deployment.checkpoint.id, request.state.began)
            if wanted.stream:
                told = bool(wanted.stream_options and wanted.stream_options.include_usage)
                return EventStream(answer.events(chunks, told), held.pop_all(), last="[DONE]")
            return JSONResponse(await while_connected(request.receive, answer.whole(chunks)))

    @router.get("/models")
    async def models() -> dict[str, Any]:
        """The live checkpoint first, then the others that could be deployed."""
        ids = await asyncio.to_thread(store.ids)
        resident = live.resident
        order = sorted(ids, key=lambda id: (id != live.id, id not in resident))
        return {"object": "list", "data": [_model(store, id, live.id, resident) for id in order]}

    return router


class _Answer:
    """One answer in OpenAI's form."""

    def __init__(self, deployment: Deployment, request_id: str) -> None:
        self._request_id = request_id
        self._head = {
            "id": f"chatcmpl-{request_id}",
            "created": int(time.time()),
            "model": deployment.checkpoint.id,
            "system_fingerprint": deployment.checkpoint.id,
        }

    async def whole(self, stream: AsyncGenerator[Chunk, None]) -> dict[str, Any]:
        """All of it at once."""
        async with aclosing(stream) as chunks:
            said = [chunk async for chunk in chunks]
        message = {"role": "assistant", "content": "".join(chunk.text for chunk in said), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": said[-1].finish_reason, "logprobs": None}
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": _usage(said[-1].usage)}

    async def events(self, stream: AsyncGenerator[Chunk, None], usage: bool) -> AsyncGenerator[dict[str, Any], None]:
        """Piece by piece; an error after the first one becomes the last event."""
        try:
            yield self._piece({"role": "assistant", "content": ""})
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    if chunk.text:
                        yield self._piece({"content": chunk.text})
                    if chunk.finish_reason is not None:
                        yield self._piece({}, chunk.finish_reason)
                        if usage:
                            yield {**self._piece({}), "choices": [], "usage": _usage(chunk.usage)}
        except Exception as error:
            yield {"error": tell(error, self._request_id).openai}

    def _piece(self, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}


def _usage(usage: Usage | None) -> dict[str, Any]:
    assert usage is not None, "The last chunk says what the answer cost."
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {f"{name}_tokens": count for name, count in usage.media_tokens.items()},
    }


def _model(store: Store, id: str, live: str | None, resident: list[str]) -> dict[str, Any]:
    created = int((store.folder(id) / MANIFEST).stat().st_mtime)
    known = {"id": id, "object": "model", "created": created, "owned_by": "polymera"}
    return known | {"live": id == live, "resident": id in resident}


def _error(error: Exception, request_id: str) -> Response:
    told = tell(error, request_id)
    # The client has a class of its own for 400; a 422 would be a stranger there.
    return JSONResponse({"error": told.openai}, 400 if told.status == 422 else told.status, told.headers)
