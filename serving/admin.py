"""The admin routes, and who may call them: the bearer of the token that lies in the store.

It knows checkpoints by id, never by path.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request

from modalities.checkpoint import Store, StoreError
from serving import clearance, schema
from serving.errors import NotFound, Unauthorized
from serving.live import Live
from serving.metrics import Metrics
from serving.policy import Policy
from serving.wire import read

TOKEN_VARIABLE = "POLYMERA_ADMIN_TOKEN"
_BODY = 10_000

log = logging.getLogger(__name__)


class Bearer:
    """A dependency that lets in whoever shows one of these keys."""

    def __init__(self, keys: Collection[str], cure: str) -> None:
        self._keys = [key.encode() for key in keys]
        self._cure = cure

    def __call__(self, request: Request) -> None:
        """Raises Unauthorized. Every key is compared, each in constant time."""
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        matches = [secrets.compare_digest(shown.strip().encode(), key) for key in self._keys]
        if scheme.lower() != "bearer" or not any(matches):
            raise Unauthorized(self._cure)


def admin_token(root: Path) -> str:
    """The token from the environment, else from the store; the first start makes one that only its owner reads."""
    if token := os.environ.get(TOKEN_VARIABLE, "").strip():
        return token
    path = root / "admin-token"
    root.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        token = path.read_text().strip()
        if not token:
            raise StoreError("The store's admin-token is empty; delete that file and start again.") from None
        return token
    with os.fdopen(handle, "w") as stream:
        os.fchmod(stream.fileno(), 0o600)
        token = secrets.token_urlsafe(32)
        stream.write(token + "\n")
    return token


def admin_routes(store: Store, live: Live, metrics: Metrics, token: str, policy: Policy) -> APIRouter:
    """Deploy, roll back, list."""
    cure = "This needs the admin token: Authorization: Bearer <the content of the store's admin-token>."
    router = APIRouter(prefix="/admin", dependencies=[Depends(Bearer([token], cure))])

    @router.post("/deploy", openapi_extra=schema.json_body(schema.DeployRequest))
    async def deploy(request: Request) -> schema.DeployResponse:
        """Put a checkpoint live. The one before keeps answering until this one is ready, or for good if it is not.

        It needs a GO of the gate for these bytes and this server's policy, or a reason to do without.
        """
        asked = schema.parse(schema.DeployRequest, await read(request, _BODY))
        wanted, refusal = asked.checkpoint, None
        try:
            await asyncio.to_thread(store.folder, wanted)
        except StoreError as error:
            raise NotFound(str(error)) from None
        if wanted != live.id:  # what is live already may be started anew
            try:
                await asyncio.to_thread(clearance.require, store, wanted, policy)
            except clearance.NotCleared as error:
                if asked.override is None:
                    raise
                refusal = str(error)
        with metrics.swapping():
            previous = await live.deploy(wanted)
        if refusal is not None and asked.override is not None:
            await asyncio.to_thread(clearance.override, store, wanted, asked.override, refusal)
            log.warning("%s is live without a GO: %s (%s)", wanted, asked.override, refusal)
        return schema.DeployResponse(checkpoint=wanted, previous=previous)

    @router.post("/rollback")
    async def rollback() -> schema.DeployResponse:
        """Put live again what was live before: a way out must not depend on a verdict."""
        with metrics.swapping():
            previous = await live.rollback()
        return schema.DeployResponse(checkpoint=live.current.checkpoint.id, previous=previous)

    @router.get("/checkpoints")
    async def checkpoints() -> schema.CheckpointsOut:
        """What the store holds."""
        return await asyncio.to_thread(listing, store, live.id, live.resident)

    return router


def listing(store: Store, live: str | None, resident: Sequence[str]) -> schema.CheckpointsOut:
    """All checkpoints by their manifests; their files are not read."""
    out = []
    for name in store.ids():
        here: dict[str, Any] = {"id": name, "live": name == live, "resident": name in resident}
        try:
            manifest = store.manifest(name)
        except StoreError as error:
            out.append(schema.CheckpointOut(**here, damaged=str(error)))
            continue
        known = manifest.model_dump(include={"stage", "method", "parent"})
        try:
            here["overrides"] = [one.reason for one in clearance.overrides(store, name)]
        except StoreError as error:
            here["damaged"] = str(error)
        said = clearance.verdict(store, name)
        here["verdict"] = said and said.decision
        out.append(schema.CheckpointOut(**here, **known, modalities=list(manifest.modalities)))
    return schema.CheckpointsOut(checkpoints=out)
