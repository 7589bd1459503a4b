"""Which deployment is live, who still uses which, and how one takes another's place.

A swap is one assignment. Requests lease the deployment they begin with; a replaced one is closed when its last
lease ends. All state belongs to the event loop; only loading happens elsewhere. It knows no HTTP.
"""

import asyncio
import gc
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from modalities.checkpoint import Store
from serving import golden
from serving.deployment import Deployment
from serving.engine import Conflict, EngineError
from serving.loading import Loader
from serving.memory import trim

PINNED = 30.0  # seconds that a replaced checkpoint can still be named: else who names it could hold it for ever

log = logging.getLogger(__name__)


class NotReady(RuntimeError):
    """Nothing is live. The message says why."""


class NotResident(LookupError):
    """The checkpoint that a request is pinned to is not in memory. The message says which are."""


@dataclass(eq=False)
class _Resident:
    deployment: Deployment
    leases: int = 0
    until: float = math.inf  # on the monotonic clock: when it can be named no more

    @property
    def id(self) -> str:
        return self.deployment.checkpoint.id


class Live:
    """The holder of the current deployment."""

    def __init__(self, store: Store, loader: Loader) -> None:
        self._store = store
        self._loader = loader
        self._current: _Resident | None = None
        self._resident: list[_Resident] = []  # the current one, and those that still have leases
        self._before: list[str] = []  # what was live earlier in this process, newest last
        self._loading: str | None = None
        self._failed: str | None = None  # what could not be loaded last
        self._retiring: set[asyncio.Task[None]] = set()
        self._confirming: asyncio.Task[None] | None = None

    @property
    def current(self) -> Deployment:
        """What is live. Raises NotReady."""
        if self._current is None:
            if self._loading is not None:
                raise NotReady(f"Not ready: {self._loading} is being loaded; ask again soon.")
            if self._failed is not None:
                raise NotReady(f"Not ready: {self._failed} could not be loaded (the log says why); deploy another.")
            raise NotReady("Not ready: no checkpoint is loaded; deploy one.")
        if (failure := self._current.deployment.engine.failure) is not None:
            raise NotReady(f"Not ready: {failure}")
        return self._current.deployment

    @property
    def id(self) -> str | None:
        """The live checkpoint's id, or None."""
        return self._current.id if self._current else None

    @property
    def loading(self) -> str | None:
        """The checkpoint that is being loaded, or None."""
        return self._loading

    @property
    def swapping(self) -> bool:
        """Whether a checkpoint is being loaded, or the weights of the last one still settle."""
        return self._loading is not None or (self._confirming is not None and not self._confirming.done())

    @property
    def resident(self) -> list[str]:
        """The checkpoints in memory, the live one included."""
        return [one.id for one in self._resident]

    @contextmanager
    def lease(self, checkpoint: str | None = None) -> Iterator[Deployment]:
        """The live deployment, or the named one while it is in memory; it is not closed before the lease ends."""
        found = self._current
        known = [one for one in self._resident if time.monotonic() < one.until]
        if found is None or checkpoint in (None, found.id):
            _ = self.current  # or NotReady
        else:
            found = next((one for one in known if one.id == checkpoint), None)
        if found is None:
            raise NotResident(
                f"Checkpoint {str(checkpoint)[:80]!r} is not in memory; there is: "
                f"{', '.join(one.id for one in known)}. Leave `checkpoint` out to get the live one."
            )
        found.leases += 1
        try:
            yield found.deployment
        finally:
            found.leases -= 1
            self._retire(found)

    async def deploy(self, checkpoint: str) -> str | None:
        """Load a checkpoint beside the live one and put it in its place; returns the id that was live before.

        When loading fails, or it does not answer its golden prompts as it did when it was judged, the old one keeps
        serving. Raises StoreError (or whatever loading raised), NotGolden and Conflict.
        """
        before = await self._swap(checkpoint)
        if before is not None and before != checkpoint:
            self._before.append(before)
        return before

    async def rollback(self) -> str | None:
        """Back to what was live before, in this process; at its beginning, to the live checkpoint's parent."""
        before = await self._swap(await self._previous())
        del self._before[-1:]
        return before

    async def close(self) -> None:
        """Close every engine; whoever is still being answered gets an error."""
        if self._confirming is not None:
            self._confirming.cancel()
            await asyncio.gather(self._confirming, return_exceptions=True)
        residents, self._current, self._resident = self._resident, None, []
        await asyncio.gather(*(one.deployment.close() for one in residents), *self._retiring)

    async def _swap(self, checkpoint: str) -> str | None:
        if self._loading is not None:
            raise Conflict(f"{self._loading} is being deployed; wait until that is done.")
        old, self._loading = self._current, checkpoint
        try:
            if old is not None and old.id == checkpoint and old.deployment.engine.failure is None:
                return old.id
            known = await asyncio.to_thread(golden.read, self._store, checkpoint)
            new = _Resident(await self._loader.load(self._store, checkpoint))
            try:
                await golden.confirm(new.deployment, known)
                await asyncio.to_thread(self._store.set_live, checkpoint)
            except BaseException:
                await new.deployment.close()
                raise
            self._resident.append(new)
            self._current = new  # the swap
        except BaseException:
            self._failed = checkpoint
            raise
        finally:
            self._loading = None
        log.info("live: %s (before: %s)", checkpoint, old.id if old else None)
        if old is None:
            return None
        if self._confirming is not None and self._confirming is not asyncio.current_task():
            self._confirming.cancel()
        self._confirming = asyncio.create_task(self._confirm(new.deployment, known))
        old.until = time.monotonic() + PINNED
        self._retire(old)
        return old.id

    async def _confirm(self, deployment: Deployment, known: tuple[golden.Golden, ...]) -> None:
        """Ask once more when the weights have settled, and go back by itself if they settled wrong."""
        try:
            if await deployment.engine.settled():
                await golden.confirm(deployment, known)
        except golden.NotGolden as no:
            log.error("%s Rolling back.", no)
            if self._current is not None and self._current.deployment is deployment:
                await self.rollback()
        except (EngineError, Conflict) as failed:
            log.error("%s could not be asked again: %s", deployment.checkpoint.id, failed)

    async def _previous(self) -> str:
        if self._before:
            return self._before[-1]
        manifest = self.current.checkpoint
        if manifest.parent is None or manifest.parent not in await asyncio.to_thread(self._store.ids):
            raise Conflict(f"Nothing was live before {manifest.id}; deploy another checkpoint by its id.")
        return manifest.parent

    def _retire(self, resident: _Resident) -> None:
        """Close what was replaced, once nobody uses it."""
        if resident.leases or resident is self._current or resident not in self._resident:
            return
        self._resident.remove(resident)
        task = asyncio.create_task(_free(resident))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


async def _free(resident: _Resident) -> None:
    await resident.deployment.close()
    del resident
    await asyncio.to_thread(_give_back)


def _give_back() -> None:
    """Models are full of reference cycles, and glibc keeps what it was given: without this, swaps grow."""
    gc.collect()
    trim()
