"""The HTTP application: routes, the live deployment's life, health, and errors as JSON.

It knows no modality and no engine; what the routes do stands in generate.py and admin.py.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from modalities.checkpoint import Store
from serving import clearance
from serving.admin import Bearer, admin_routes, admin_token
from serving.errors import tell
from serving.generate import user_routes
from serving.live import Live
from serving.loading import Loader, loader
from serving.metrics import Metrics
from serving.openai import openai_routes
from serving.policy import Policy, read_policy
from serving.wire import Envelope, Turnstile

IN_FLIGHT = 128  # requests that are answered or wait; the next gets a 429

log = logging.getLogger(__name__)


def create_app(
    store: Store,
    *,
    checkpoint: str | None = None,
    engine: Loader | None = None,
    api_keys: Collection[str] = (),
    policy: Policy | None = None,
    in_flight: int = IN_FLIGHT,
    started: Callable[[Exception | None], None] | None = None,
) -> FastAPI:
    """The application over a store. `checkpoint` is loaded in the background once the server runs.

    `engine` makes the deployments; left out, each has an engine of its own in this process. `started` is told when
    it is live, or why it never will be. With `api_keys`, users must show one. `policy` is what a checkpoint must reach
    to be deployed here; left out, it is the shipped one. What the server is started with is its operator's own choice.
    """
    engine, policy = engine or loader("transformers"), policy or read_policy()
    live, turnstile = Live(store, engine), Turnstile(in_flight)
    metrics = Metrics(lambda: turnstile.inside, lambda: live.swapping, engine.features)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        del app
        starting = asyncio.create_task(_start(store, policy, live, checkpoint, started))
        yield
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await live.close()

    app = FastAPI(title="Polymera", lifespan=life, docs_url=None, redoc_url=None)
    app.state.live = live
    app.add_middleware(Envelope, live_id=lambda: live.id, count=metrics.count)
    app.add_exception_handler(HTTPException, _http_error)
    locks = []
    if api_keys:
        locks = [Depends(Bearer(api_keys, "This server wants an API key: Authorization: Bearer <your key>."))]
    app.include_router(user_routes(live, turnstile, metrics), dependencies=locks)
    app.include_router(openai_routes(store, live, turnstile, metrics), dependencies=locks)
    app.include_router(admin_routes(store, live, metrics, admin_token(store.root), policy))
    app.include_router(metrics.route())

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        """The process lives and its event loop turns."""
        return {"alive": True}

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        """A checkpoint is live and its engine sound; else 503 with the reason."""
        return {"checkpoint": live.current.checkpoint.id}

    return app


async def _start(
    store: Store,
    policy: Policy,
    live: Live,
    checkpoint: str | None,
    started: Callable[[Exception | None], None] | None,
) -> None:
    if checkpoint is None:
        return
    failure = None
    try:
        await live.deploy(checkpoint)
        await asyncio.to_thread(clearance.require, store, checkpoint, policy)
    except clearance.NotCleared as no:
        log.warning("started without a GO: %s", no)
    except Exception as error:
        failure = error
    if started is not None:
        started(failure)
    elif failure is not None:
        log.error("%s cannot be loaded: %s", checkpoint, failure)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    """Unknown routes and methods, in the same form as every other error."""
    return tell(error, request.state.request_id).response()
