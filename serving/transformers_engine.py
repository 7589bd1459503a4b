"""An engine in this process: a transformers causal LM with continuous batching, small on purpose.

One worker thread owns the model. Requests come in through a condition variable; tokens go out through each
request's own event loop. It knows no text and no modality; batch.py knows how sequences share a cache.

Shapes: T = tokens, D = backbone width, B = running sequences, V = vocabulary.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any

import torch
from torch import Tensor

from serving.attention import share_keys
from serving.batch import Batch
from serving.engine import EngineError, EngineStopped, Sampling

SLOTS = 32  # sequences decoded at once
PREFILL_TOKENS = 4096  # padded tokens of prompts that join in one step, so that those who stream are not held up
FAILURES = 3  # failed steps in a row after which the engine is dead

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Request:
    embeds: Tensor  # (T, D)
    sampling: Sampling
    loop: asyncio.AbstractEventLoop
    inbox: "asyncio.Queue[int | EngineError | None]"  # tokens, then None or an error
    generator: torch.Generator = field(default_factory=torch.Generator)
    tokens: int = 0
    last: int = -1
    left: bool = False  # the client has gone, or all is said

    def send(self, item: int | EngineError | None) -> None:
        try:
            self.loop.call_soon_threadsafe(self.inbox.put_nowait, item)
        except RuntimeError:  # the loop is closed, and with it the client gone
            self.left = True

    def end(self, error: EngineError | None = None) -> None:
        self.left = True
        self.send(error)


class TransformersEngine:
    """Continuous batching over one causal LM. Implements serving.engine.Engine."""

    def __init__(self, model: Any, end_ids: Collection[int], *, slots: int = SLOTS) -> None:
        self.width: int = model.get_input_embeddings().embedding_dim
        self.context: int = model.config.get_text_config().max_position_embeddings
        self._end = frozenset(end_ids)
        self._slots = slots
        share_keys(model)
        self._batch = Batch(model)
        self._running: list[_Request] = []
        self._waiting: deque[_Request] = deque()
        self._staged: list[_Request] = []
        self._work = Condition()
        self._closing = False
        self._failures = 0
        self._failure: str | None = None
        self._thread = Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why the engine takes no more requests, or None while it does."""
        return "The engine is closed." if self._closing else self._failure

    @property
    def running(self) -> int:
        """How many sequences hold a place."""
        return len(self._running)

    async def stream(self, embeds: Tensor, sampling: Sampling) -> AsyncGenerator[int, None]:
        """Token ids that continue the prompt (T, D); see Engine.stream."""
        if embeds.ndim != 2 or embeds.shape[1] != self.width or not 0 < len(embeds) < self.context:
            raise ValueError(
                f"A prompt of shape {tuple(embeds.shape)} does not fit (1..{self.context - 1}, {self.width})."
            )
        request = _Request(embeds, sampling, asyncio.get_running_loop(), asyncio.Queue())
        request.generator.manual_seed(sampling.seed)
        self._stage(request)
        try:
            while (item := await request.inbox.get()) is not None:
                if isinstance(item, EngineError):
                    raise item
                yield item
        finally:
            request.left = True

    async def settled(self) -> bool:
        """At once: its weights never move."""
        return False

    async def close(self) -> None:
        """Stop after the step that runs; whoever still waits gets EngineStopped."""
        with self._work:
            self._closing = True
            self._work.notify()
        await asyncio.to_thread(self._thread.join)

    # In the event loop ------------------------------------------------------------------------------------------

    def _stage(self, request: _Request) -> None:
        """Requests of one iteration of the loop go over together: the same requests then make the same batch."""
        with self._work:
            if (failure := self.failure) is not None:
                raise EngineStopped(failure)
            if not self._staged:
                request.loop.call_soon(self._hand_over)
            self._staged.append(request)

    def _hand_over(self) -> None:
        with self._work:
            self._waiting.extend(self._staged)
            self._staged.clear()
            self._work.notify()

    # In the worker thread ---------------------------------------------------------------------------------------

    def _serve(self) -> None:
        with torch.inference_mode():
            while (joining := self._admit()) is not None:
                try:
                    self._step(joining)
                    self._failures = 0
                except Exception:  # whatever it is: who was in the step is told, and the others are still served
                    log.exception("a step of the engine failed")
                    self._fail(joining)
        self._batch = Batch(self._batch.model)

    def _admit(self) -> list[_Request] | None:
        """Drop who left; then who may join now. Waits while there is nothing to do; None when all is over."""
        with self._work:
            while True:
                if self.failure is not None:
                    self._refuse(EngineStopped(self.failure))
                    return None
                self._drop()
                joining: list[_Request] = []
                while self._waiting and len(self._running) + len(joining) < self._slots:
                    longest = max(len(request.embeds) for request in [self._waiting[0], *joining])
                    if joining and longest * (len(joining) + 1) > PREFILL_TOKENS:
                        break
                    request = self._waiting.popleft()
                    if not request.left:
                        joining.append(request)
                if joining or self._running:
                    return joining
                self._work.wait()

    def _step(self, joining: list[_Request]) -> None:
        """One token for everyone: those who run get their next, those who join their first."""
        logits = []
        if self._running:
            logits.append(self._batch.step([request.last for request in self._running]))
        if joining:
            logits.append(self._batch.join([request.embeds for request in joining]))
            self._running += joining
        for request, token in zip(self._running, self._choose(torch.cat(logits)), strict=True):
            if token is None:
                request.end(EngineError("The model gave no finite numbers for this prompt; send another file."))
            elif token in self._end:
                request.end()
            else:
                self._say(request, token)
        self._drop()

    def _choose(self, logits: Tensor) -> list[int | None]:
        """The next token of each row, None where (B, V) holds something that is no number."""
        sound = logits.isfinite().all(-1).tolist()  # B
        tokens: list[int | None] = list(logits.argmax(-1).tolist())  # B
        for row, request in enumerate(self._running):
            if not sound[row]:
                tokens[row] = None
            elif request.sampling.temperature > 0:
                odds = (logits[row] / request.sampling.temperature).softmax(-1).cpu()  # V
                tokens[row] = int(torch.multinomial(odds, 1, generator=request.generator))
        return tokens

    def _say(self, request: _Request, token: int) -> None:
        request.last = token
        request.tokens += 1
        request.send(token)
        if request.tokens == request.sampling.max_tokens or len(request.embeds) + request.tokens >= self.context:
            request.end()

    def _drop(self) -> None:
        """Those who left give their places back."""
        rows = [row for row, request in enumerate(self._running) if not request.left]
        self._batch.keep(rows)
        self._running = [self._running[row] for row in rows]

    def _fail(self, joining: list[_Request]) -> None:
        """Whoever was in the failed step gets an error; those who wait are tried, unless it goes on failing."""
        self._failures += 1
        for request in {*self._running, *joining}:
            request.end(EngineError("The engine failed at this request; send it again."))
        self._running = []
        self._batch = Batch(self._batch.model)
        if self._failures == FAILURES:
            self._failure = f"The engine failed {FAILURES} times in a row; look at the log and deploy again."

    def _refuse(self, error: EngineStopped) -> None:
        for request in [*self._running, *self._waiting, *self._staged]:
            request.end(error)
        self._running = []
        self._waiting.clear()
        self._staged.clear()
