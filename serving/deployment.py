"""A deployment: checkpoint, embedder and engine as one immutable whole. A request holds one from start to end.

Encoders and tokenizers run in threads of their own, never in the event loop. It knows no HTTP, and not whether
it is the one that is live.

Shapes: T = tokens, D = backbone width.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from modalities.assemble import assemble
from modalities.base import TEXT, BadMedia, Part
from modalities.checkpoint import Checkpoint, Store, StoreError
from modalities.embedder import Embedded, Embedder, Turn
from modalities.mllm import MLLM
from serving.encoding import THREADS, Encoding
from serving.engine import Engine, Sampling, check
from serving.transformers_engine import TransformersEngine
from serving.words import Words


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request cost. `prompt_tokens` counts the media's tokens in, `media_tokens` says whose they are."""

    prompt_tokens: int
    completion_tokens: int
    media_tokens: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer. The last one, and only that, has a finish_reason and the usage."""

    text: str
    finish_reason: Literal["stop", "length"] | None = None
    usage: Usage | None = None


@dataclass(frozen=True)
class Deployment:
    """What answers. Replaced as a whole, never changed."""

    checkpoint: Checkpoint
    embedder: Embedder
    engine: Engine
    encoding: Encoding = field(default_factory=Encoding)

    async def embed(self, prompt: Sequence[Part]) -> Embedded:
        """The prompt as embeddings. Raises BadMedia, UnknownModality and PromptTooLong."""
        return await self.converse([Turn("user", tuple(prompt))])

    async def converse(self, turns: Sequence[Turn]) -> Embedded:
        """A conversation as embeddings; see `embed`."""
        await self.encoding.ready(self.embedder, (part for turn in turns for part in turn.parts))
        return await asyncio.get_running_loop().run_in_executor(THREADS, self._embed, turns)

    async def generate(self, prompt: Embedded, sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """The answer, piece by piece. Close it to stop early: its place in the engine is free at the next step."""
        room = self.embedder.max_tokens - len(prompt.embeds)
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        words, count = Words(self.embedder.tokenizer, sampling.stop), 0
        async with aclosing(self.engine.stream(prompt.embeds, sampling)) as tokens:
            async for token in tokens:
                count += 1
                if piece := words.feed(token):
                    yield Chunk(piece)
                if words.stopped:
                    break
        cut = count == sampling.max_tokens and not words.stopped
        usage = Usage(len(prompt.embeds), count, prompt.media_tokens)
        yield Chunk(words.end(), "length" if cut else "stop", usage)

    async def stream(self, prompt: Sequence[Part], sampling: Sampling) -> AsyncGenerator[Chunk, None]:
        """Embed, then generate."""
        async with aclosing(self.generate(await self.embed(prompt), sampling)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def answers(
        self,
        prompts: Sequence[Sequence[Part]],
        sampling: Sampling,
        progress: Callable[[], object] | None = None,
    ) -> list[str]:
        """The whole answer to each prompt. All are embedded first, then start at once: the same every time."""

        async def answer(embedded: Embedded) -> str:
            async with aclosing(self.generate(embedded, sampling)) as chunks:
                text = "".join([chunk.text async for chunk in chunks])
            if progress is not None:
                progress()
            return text

        embedded = [await self.embed(prompt) for prompt in prompts]
        tasks = [asyncio.create_task(answer(one)) for one in embedded]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def close(self) -> None:
        """Stop the engine."""
        await self.engine.close()

    def _embed(self, turns: Sequence[Turn]) -> Embedded:
        embedded = self.embedder.converse(turns)
        try:
            check(embedded.embeds, self.embedder.width, self.embedder.max_tokens)
        except ValueError as error:
            raise BadMedia(str(error)) from None
        return embedded


def in_process(store: Store, checkpoint: str) -> Deployment:
    """A checkpoint on an engine in this process: everything is read, hashed and tried before it is shown.

    Raises StoreError when a file is damaged or does not fit. Blocking.
    """
    manifest = store.load(checkpoint)
    model = assemble(store, manifest)
    _try(manifest.id, model)
    ends = ids_of(model.llm.generation_config.eos_token_id, model.embedder.tokenizer.eos_token_id)
    return Deployment(manifest, model.embedder, TransformersEngine(model.llm, ends))


def ids_of(*sources: int | Sequence[int] | None) -> set[int]:
    """The tokens that end an answer, whether a backbone gives one, some or none in each place."""
    return {one for ids in sources for one in ([ids] if isinstance(ids, int) else ids or [])}


@torch.inference_mode()
def _try(checkpoint: str, model: MLLM) -> None:
    """One real step: weights that fit by shape can still be no numbers."""
    embeds = model.embedder.embed([Part(TEXT, "?")]).embeds  # (T, D)
    logits = model.llm(inputs_embeds=embeds[None], use_cache=False, logits_to_keep=1).logits
    weights = [*model.embedder.connectors.parameters(), logits]
    if not all(one.isfinite().all() for one in weights):
        raise StoreError(f"{checkpoint}: its weights give numbers that are not finite; restore or retrain it.")
