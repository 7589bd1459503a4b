"""The swap that neither pauses nor mixes: one vLLM, the weights of one checkpoint, and one other beside them.

Two neighbouring checkpoints differ by one scaled low-rank delta, so the new one can run on the old one's weights:

    stage   everything is read and checked; no request notices
    admit   the new checkpoint's requests run as base + LoRA; the old one's go on as base
    fold    the old one's are gone: base := new weights and LoRA slot := 0, a layer at a time, between steps
    retire  requests without LoRA; the fast path is back

A rollback is the same with the older list. Where the difference does not fit the engine's LoRA, the new
checkpoint's requests wait instead, bounded, until the old one's have ended and all layers are set: *drain*.
It knows no modality, no HTTP and no vllm: that is vllm_engine.py.

Shapes: T = tokens, D = backbone width.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from serving.engine import Conflict, EngineError, EngineStopped, Sampling
from serving.pieces import Pieces, Shapes, change
from serving.vllm_engine import Vllm

PATIENCE = 60.0  # seconds that a request waits for weights that are being set
PULSE = 1.0  # seconds between two looks at whether the engine lives

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Version:
    """A checkpoint's weights in the engine, and who uses them."""

    id: str
    pieces: Pieces
    views: int = 0  # deployments that hold it
    lora: Any = None  # what its requests name while it runs beside the base
    ready: asyncio.Event = field(default_factory=asyncio.Event)  # its requests may run


class Host:
    """One vLLM and the versions that it serves. All state belongs to the event loop."""

    def __init__(self, start: Callable[[], Awaitable[Vllm]]) -> None:
        self._start = start
        self._vllm: Vllm | None = None
        self._layers: list[Shapes] = []
        self._base: Version | None = None
        self._beside: Version | None = None
        self._named = 0  # requests in flight that name the LoRA
        self._unnamed = asyncio.Event()
        self._settling: asyncio.Task[None] | None = None
        self._guard: asyncio.Task[None] | None = None

    @property
    def failure(self) -> str | None:
        """Why the engine takes no more requests, or None while it does."""
        return "The engine is not running." if self._vllm is None else self._vllm.failure

    @property
    def idle(self) -> bool:
        """Whether it has no engine yet, or none any more because nobody held a version."""
        return self._base is None

    @property
    def settled(self) -> bool:
        """Whether one checkpoint's weights are in place and no other's beside them."""
        return self._beside is None and self._settling is None

    async def view(self, id: str, pieces: Pieces) -> "View":
        """Serve a checkpoint, beside the present one if it is another. Raises StoreError, Conflict and EngineStopped.

        Nothing that runs is touched before everything is read and checked.
        """
        if self._base is None:
            base = Version(id, pieces)
            await self._cold(base)
            self._base = base
            self._guard = asyncio.create_task(self._watch())
        version = next((one for one in (self._base, self._beside) if one is not None and one.id == id), None)
        if self._settling is not None or (version is None and self._beside is not None):
            raise Conflict("The weights of the last swap are still settling; try again in a few seconds.")
        if version is None:
            version = await self._admit(Version(id, pieces), self._base)
        version.views += 1
        return View(self, version)

    async def stream(self, version: Version, embeds: Tensor, sampling: Sampling) -> AsyncGenerator[int, None]:
        """Token ids by a version's weights, whichever way it is served now."""
        try:
            await asyncio.wait_for(version.ready.wait(), PATIENCE)
        except TimeoutError:
            raise EngineError(f"{version.id} still waits for requests to the one before; ask again later.") from None
        if self._vllm is None or version not in (self._base, self._beside):
            raise EngineStopped(self.failure or f"{version.id} is no longer in memory; ask for the live checkpoint.")
        lora = version.lora
        self._named += lora is not None
        try:
            async with aclosing(self._vllm.stream(embeds, sampling, version.id, lora)) as tokens:
                async for token in tokens:
                    yield token
        finally:
            self._named -= lora is not None
            if not self._named:
                self._unnamed.set()

    async def leave(self, version: Version) -> None:
        """A deployment is closed. The weights then settle on whatever is still held; without any, the engine ends."""
        version.views -= 1
        if not any(one.views for one in (self._base, self._beside) if one is not None):
            await self._end()
        elif not version.views and self._beside is not None and self._settling is None:
            self._settling = asyncio.create_task(self._settle())
            self._settling.add_done_callback(self._report)

    # The four steps ---------------------------------------------------------------------------------------------

    async def _admit(self, version: Version, base: Version) -> Version:
        """Stage a version, and let it run as base + LoRA where that is possible."""
        vllm = self._running()
        self._beside = version  # no third one meanwhile
        try:
            delta = await asyncio.to_thread(change, base.pieces, version.pieces, self._fits)
            await vllm.stage([(str(piece.folder), piece.scale) for piece in version.pieces])
            rank = max((len(part.a) for part in delta.values()), default=0)
            if 0 < rank <= vllm.rank:
                version.lora = await vllm.add_lora(version.id, delta)
            if rank <= vllm.rank:
                version.ready.set()
            else:
                log.info("%s differs by rank %d, a LoRA here has %d: it waits its turn", version.id, rank, vllm.rank)
        except BaseException:
            self._beside = None
            raise
        return version

    async def _settle(self) -> None:
        """Let the weights be those of the one version that is still held."""
        vllm, base, beside = self._running(), self._base, self._beside
        assert base is not None, "What is beside is beside a base."
        assert beside is not None, "Without a second version all is settled."
        if base.views:  # the new one has gone: back to what there was
            lora, beside.lora, self._beside = beside.lora, None, None
        else:
            began = time.perf_counter()
            await self._fold(vllm)
            took = 1000 * (time.perf_counter() - began) / len(self._layers)
            lora, beside.lora = beside.lora, None
            self._base, self._beside = beside, None
            beside.ready.set()
            log.info(
                "%s: %d layers set, %.0f ms each with its wait for a step to end", beside.id, len(self._layers), took
            )
        began = time.perf_counter()
        await vllm.drop()
        log.info("a call that changes nothing took %.0f ms with that wait", 1000 * (time.perf_counter() - began))
        if lora is not None:
            while self._named:  # begun as LoRA, folded under way: its slot is zero now
                self._unnamed.clear()
                await self._unnamed.wait()
            await vllm.remove_lora(lora)

    async def _fold(self, vllm: Vllm) -> None:
        for layer in range(len(self._layers)):
            await vllm.fold(layer)

    @property
    def _fits(self) -> Shapes:
        return {name: shape for layer in self._layers for name, shape in layer.items()}

    def _report(self, task: asyncio.Task[None]) -> None:
        self._settling = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the weights could not settle; the engine is started anew", exc_info=error)
            if self._vllm is not None:
                self._vllm.fail()

    # Its life ---------------------------------------------------------------------------------------------------

    async def _cold(self, version: Version) -> None:
        """Start an engine with a version's weights and nothing else."""
        vllm = await self._start()
        try:
            self._layers = [*await vllm.weights()]
            await asyncio.to_thread(change, (), version.pieces, self._fits)
            await vllm.stage([(str(piece.folder), piece.scale) for piece in version.pieces])
            await self._fold(vllm)
            await vllm.drop()
            await vllm.lend(False)
        except BaseException:
            await vllm.close()
            raise
        self._vllm = vllm
        version.lora = None
        version.ready.set()

    async def _watch(self) -> None:
        """Start a dead engine anew, with the newest weights that somebody holds."""
        while True:
            await asyncio.sleep(PULSE)
            if self.failure is None:
                continue
            log.error("the engine died; it is started again")
            if self._settling is not None:
                self._settling.cancel()
            dead, self._vllm = self._vllm, None
            if dead is not None:
                await dead.close()
            newest = self._beside if self._beside is not None and self._beside.views else self._base
            assert newest is not None, "What is watched has a base."
            self._base, self._beside = newest, None
            try:
                await self._cold(newest)
            except Exception:  # whatever it is may pass: until a try succeeds /readyz is red and requests get a 503
                log.exception("the engine could not be started; another try follows")

    async def _end(self) -> None:
        """Nobody is left."""
        tasks = [task for task in (self._guard, self._settling) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        vllm, self._vllm, self._base, self._beside = self._vllm, None, None, None
        if vllm is not None:
            await vllm.close()

    def _running(self) -> Vllm:
        if self._vllm is None or self._vllm.failure is not None:
            raise EngineStopped(str(self.failure))
        return self._vllm


class View:
    """A version of a host, as an Engine. What a deployment holds."""

    def __init__(self, host: Host, version: Version) -> None:
        self._host = host
        self._version = version

    @property
    def failure(self) -> str | None:
        """Why the engine takes no more requests, or None while it does."""
        return self._host.failure

    def stream(self, embeds: Tensor, sampling: Sampling) -> AsyncGenerator[int, None]:
        """Token ids that continue the prompt (T, D); see Engine.stream."""
        return self._host.stream(self._version, embeds, sampling)

    async def settled(self) -> bool:
        """Return once one checkpoint's weights are in place and no other's beside them."""
        moved = not self._host.settled
        while not self._host.settled:
            await asyncio.sleep(PULSE)
        return moved

    async def close(self) -> None:
        """Let go of it."""
        await self._host.leave(self._version)
