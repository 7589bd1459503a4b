"""POST /generate and GET /modalities: what users call.

A request leases the deployment that is live when its body has been read, and keeps it to its end. It knows no
modality by name and no engine.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from modalities.embedder import Embedded
from serving import schema
from serving.deployment import Chunk, Deployment
from serving.errors import tell
from serving.live import Live
from serving.metrics import Metrics
from serving.wire import Deadline, EventStream, Turnstile, read, while_connected


def user_routes(live: Live, turnstile: Turnstile, metrics: Metrics) -> APIRouter:
    """The routes, over what is live."""
    router = APIRouter()

    @router.post(
        "/generate", response_model=schema.GenerateResponse, openapi_extra=schema.json_body(schema.GenerateRequest)
    )
    async def generate(request: Request) -> Response:
        """Answer a prompt of text and media; with `stream`, as server-sent events."""
        with ExitStack() as held:
            held.enter_context(turnstile)
            body = await read(request, schema.body_limit(live.current.embedder.modalities))
            wanted = await asyncio.to_thread(schema.parse, schema.GenerateRequest, body)
            del body
            deadline = Deadline(wanted.timeout)
            deployment = held.enter_context(live.lease(wanted.checkpoint))
            request.state.checkpoint = deployment.checkpoint.id
            prompt = await while_connected(request.receive, deadline.of(_embed(deployment, wanted)))
            answer = deadline.each(deployment.generate(prompt, wanted.sampling()))
            chunks = metrics.timed(answer, deployment.checkpoint.id, request.state.began)
            if wanted.stream:
                return EventStream(_events(deployment, chunks, request.state.request_id), held.pop_all())
            whole = _whole(deployment, chunks)
            return JSONResponse((await while_connected(request.receive, whole)).model_dump())

    @router.get("/modalities")
    async def modalities() -> schema.ModalitiesOut:
        """What the live checkpoint understands besides text."""
        now = live.current
        return schema.ModalitiesOut(
            checkpoint=now.checkpoint.id,
            modalities=[
                schema.ModalityOut(
                    name=one.name,
                    media_types=list(one.media_types),
                    suffixes=list(one.suffixes),
                    max_bytes=one.max_bytes,
                )
                for one in now.embedder.modalities.values()
            ],
        )

    return router


async def _embed(deployment: Deployment, wanted: schema.GenerateRequest) -> Embedded:
    parts = await asyncio.to_thread(schema.parts, wanted, deployment.embedder.modalities)
    return await deployment.embed(parts)


async def _whole(deployment: Deployment, stream: AsyncGenerator[Chunk, None]) -> schema.GenerateResponse:
    async with aclosing(stream) as said:
        chunks = [chunk async for chunk in said]
    done = _done(deployment, chunks[-1])
    return schema.GenerateResponse(text="".join(chunk.text for chunk in chunks), **dict(done))


async def _events(
    deployment: Deployment, stream: AsyncGenerator[Chunk, None], request_id: str
) -> AsyncGenerator[dict[str, Any], None]:
    try:
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                if chunk.text:
                    yield {"token": chunk.text}
                if chunk.finish_reason is not None:
                    yield {"done": _done(deployment, chunk).model_dump()}
    except Exception as error:  # the status has gone out long ago: the error becomes the last event
        yield {"error": tell(error, request_id).body}


def _done(deployment: Deployment, last: Chunk) -> schema.Done:
    assert last.finish_reason is not None, "The last chunk says why the answer ended."
    assert last.usage is not None, "The last chunk says what the answer cost."
    usage = schema.UsageOut(
        prompt_tokens=last.usage.prompt_tokens,
        completion_tokens=last.usage.completion_tokens,
        media_tokens=last.usage.media_tokens,
    )
    return schema.Done(finish_reason=last.finish_reason, checkpoint=deployment.checkpoint.id, usage=usage)
