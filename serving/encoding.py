"""Encoder passes of all who ask at the same time, as one batch in a thread.

The first to ask is encoded at once; who comes while that runs shares the next batch. The same file is encoded once,
however many ask for it. It knows no modality by name and no connector.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

from modalities.base import BadMedia, Part
from modalities.embedder import Embedder

MOST = 16  # files in a batch

THREADS = ThreadPoolExecutor(2, thread_name_prefix="embed")  # for encoders, connectors and tokenizers


class Encoding:
    """One lane a modality. Its state belongs to the event loop."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}

    async def ready(self, embedder: Embedder, parts: Iterable[Part]) -> None:
        """Return once the features of all known media are in the cache. Raises BadMedia."""
        media = [part for part in dict.fromkeys(parts) if part.modality in embedder.connectors]
        if media:
            missing = await asyncio.get_running_loop().run_in_executor(THREADS, _missing, embedder, media)
            await asyncio.gather(*(self._lane(embedder, part.modality).encoded(part) for part in missing))

    def _lane(self, embedder: Embedder, name: str) -> "_Lane":
        if name not in self._lanes:
            encode = partial(embedder.features.encode, embedder.modalities[name], embedder.encoder(name))
            self._lanes[name] = _Lane(encode)
        return self._lanes[name]


class _Lane:
    """Who waits for one encoder."""

    def __init__(self, encode: Callable[[Sequence[Part]], list[BadMedia | None]]) -> None:
        self._encode = encode
        self._waiting: dict[Part, asyncio.Future[None]] = {}
        self._running: dict[Part, asyncio.Future[None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def encoded(self, part: Part) -> None:
        future = self._waiting.get(part) or self._running.get(part)
        if future is None:
            future = self._waiting[part] = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        await asyncio.shield(future)  # one who leaves takes it from nobody

    async def _run(self) -> None:
        while self._waiting:
            self._running = dict(islice(self._waiting.items(), MOST))
            for part in self._running:
                del self._waiting[part]
            errors: Sequence[Exception | None]
            try:
                errors = await asyncio.get_running_loop().run_in_executor(THREADS, self._encode, [*self._running])
            except Exception as error:  # whose it is cannot be told: everybody's
                errors = [error] * len(self._running)
            for future, problem in zip(self._running.values(), errors, strict=True):
                if problem is None:
                    future.set_result(None)
                else:
                    future.set_exception(problem)
                    future.exception()  # seen, even if all who asked have left
            self._running = {}
        self._task = None


def _missing(embedder: Embedder, media: Sequence[Part]) -> list[Part]:
    return [part for part in media if not embedder.features.known(embedder.encoder(part.modality), part)]
