"""The in-process engine: what it says equals model.generate, whoever joins and leaves beside it."""

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from serving.engine import EngineError, EngineStopped, Sampling, check
from serving.transformers_engine import FAILURES, TransformersEngine
from tests import pico

END = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("pico")
    pico.backbone(folder)
    model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval().requires_grad_(False)


def prompt(model: Any, seed: int, length: int | None = None) -> Tensor:
    draw = Random(seed)
    ids = [draw.randrange(3, pico.VOCABULARY) for _ in range(length or draw.randint(1, 60))]
    embeds: Tensor = model.get_input_embeddings()(torch.tensor(ids))
    return embeds


def alone(model: Any, embeds: Tensor, tokens: int) -> list[int]:
    """What transformers itself says to one prompt, greedily."""
    model.set_attn_implementation("sdpa")
    out: list[int] = model.generate(
        inputs_embeds=embeds[None], max_new_tokens=tokens, do_sample=False, attention_mask=torch.ones(1, len(embeds))
    )[0].tolist()
    return out[: out.index(END)] if END in out else out


async def collect(engine: TransformersEngine, embeds: Tensor, sampling: Sampling, wait: float = 0) -> list[int]:
    await asyncio.sleep(wait)
    return [token async for token in engine.stream(embeds, sampling)]


def serve(model: Any, story: Callable[[TransformersEngine], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """Run a story with an engine of its own, closed at the end."""

    async def run() -> Any:
        engine = TransformersEngine(model, [END], **options)
        try:
            return await asyncio.wait_for(story(engine), 60)
        finally:
            await engine.close()

    return asyncio.run(run())


async def until(claim: Callable[[], bool]) -> None:
    for _ in range(500):
        if claim():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("It never came true.")


def test_greedy_answers_equal_generate_one_by_one_whenever_they_join(model: Any) -> None:
    prompts = [prompt(model, seed) for seed in range(20)]
    lengths = [Random(seed).randint(1, 50) for seed in range(20)]

    async def story(engine: TransformersEngine) -> list[list[int]]:
        waits = [seed * 0.003 for seed in range(20)]
        jobs = zip(prompts, lengths, waits, strict=True)
        return await asyncio.gather(*(collect(engine, p, Sampling(n), wait) for p, n, wait in jobs))

    said = serve(model, story, slots=6)
    assert said == [alone(model, p, n) for p, n in zip(prompts, lengths, strict=True)]


def test_attention_without_copies_gives_the_same_bits(model: Any) -> None:
    engine = TransformersEngine(model, [END])
    assert model.config._attn_implementation == "grouped_sdpa"
    embeds = torch.stack([prompt(model, seed, 17) for seed in range(3)])
    mask = (torch.arange(17) >= torch.tensor([[0], [5], [9]])).long()
    ours = model(inputs_embeds=embeds, attention_mask=mask).logits
    model.set_attn_implementation("sdpa")
    theirs = model(inputs_embeds=embeds, attention_mask=mask).logits
    assert torch.equal(ours[mask.bool()], theirs[mask.bool()])
    asyncio.run(engine.close())


def test_an_end_token_is_not_yielded(model: Any) -> None:
    embeds = prompt(model, 1)
    first = alone(model, embeds, 3)
    stop_at_third = TransformersEngine(model, [first[2]])

    async def story() -> list[int]:
        try:
            return await collect(stop_at_third, embeds, Sampling(50))
        finally:
            await stop_at_third.close()

    assert asyncio.run(story()) == first[: first.index(first[2])]


def test_a_seed_gives_the_same_answer_whoever_is_served_beside_it(model: Any) -> None:
    embeds, warm = prompt(model, 3), Sampling(30, temperature=1.5, seed=7)

    async def story(engine: TransformersEngine) -> tuple[list[int], list[int], list[int]]:
        lonely = await collect(engine, embeds, warm)
        others = [collect(engine, prompt(model, s), Sampling(40, temperature=1.0, seed=s), 0.002 * s) for s in range(9)]
        crowded, *_ = await asyncio.gather(collect(engine, embeds, warm, 0.005), *others)
        return lonely, crowded, await collect(engine, embeds, Sampling(30, temperature=1.5, seed=8))

    lonely, crowded, other_seed = serve(model, story)
    assert lonely == crowded != other_seed


def test_requests_of_one_iteration_are_admitted_together_in_order(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[list[int]] = []
    join = __import__("serving.batch").batch.Batch.join

    def watch(self: Any, prompts: list[Tensor]) -> Tensor:
        joined.append([len(one) for one in prompts])
        logits: Tensor = join(self, prompts)
        return logits

    monkeypatch.setattr("serving.batch.Batch.join", watch)
    prompts = [prompt(model, seed, length=seed + 1) for seed in range(12)]

    async def story(engine: TransformersEngine) -> None:
        await asyncio.gather(*(collect(engine, p, Sampling(1)) for p in prompts))

    serve(model, story, slots=8)
    assert joined == [[1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12]]


def test_a_client_that_leaves_frees_its_place_for_one_that_waits(model: Any) -> None:
    async def story(engine: TransformersEngine) -> list[int]:
        async with aclosing(engine.stream(prompt(model, 1, 5), Sampling(500))) as stream:
            await anext(stream)
            waiting = asyncio.create_task(collect(engine, prompt(model, 2), Sampling(3)))
            await asyncio.sleep(0.05)
            assert not waiting.done(), "There is one place only."
        return await waiting

    assert serve(model, story, slots=1) == alone(model, prompt(model, 2), 3)


def test_a_cancelled_task_frees_its_place(model: Any) -> None:
    async def story(engine: TransformersEngine) -> None:
        task = asyncio.create_task(collect(engine, prompt(model, 1, 5), Sampling(500)))
        await until(lambda: engine.running == 1)
        task.cancel()
        await until(lambda: engine.running == 0)

    serve(model, story)


def test_who_leaves_while_waiting_never_gets_a_place(model: Any) -> None:
    async def story(engine: TransformersEngine) -> list[list[int]]:
        first = asyncio.create_task(collect(engine, prompt(model, 1, 5), Sampling(60)))
        second = asyncio.create_task(collect(engine, prompt(model, 2), Sampling(60)))
        third = asyncio.create_task(collect(engine, prompt(model, 3), Sampling(5)))
        await until(lambda: engine.running == 1)
        second.cancel()
        return list(await asyncio.gather(first, third))

    assert serve(model, story, slots=1) == [alone(model, prompt(model, 1, 5), 60), alone(model, prompt(model, 3), 5)]


def test_a_loop_that_closes_without_a_word_frees_its_places(model: Any) -> None:
    engine = TransformersEngine(model, [END])
    stream = engine.stream(prompt(model, 1, 5), Sampling(400))

    async def begin() -> int:
        return await anext(stream)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    request = engine._running[0]
    loop.close()

    async def later() -> list[int]:
        await until(lambda: engine.running == 0)
        assert request.tokens < 400
        said = await collect(engine, prompt(model, 2), Sampling(3))
        await engine.close()
        return said

    assert asyncio.run(later()) == alone(model, prompt(model, 2), 3)


def test_the_context_ends_an_answer(model: Any) -> None:
    context = model.config.max_position_embeddings
    embeds = prompt(model, 5, context - 4)

    async def story(engine: TransformersEngine) -> list[int]:
        engine._end = frozenset()
        return await collect(engine, embeds, Sampling(50))

    assert len(serve(model, story)) == 4


def test_a_prompt_of_the_wrong_shape_never_reaches_the_batch(model: Any) -> None:
    async def story(engine: TransformersEngine) -> None:
        for bad in (torch.zeros(3, pico.WIDTH + 1), torch.zeros(0, pico.WIDTH), torch.zeros(600, pico.WIDTH)):
            with pytest.raises(ValueError, match="does not fit"):
                await collect(engine, bad, Sampling(1))
        assert await collect(engine, prompt(model, 1), Sampling(2)) == alone(model, prompt(model, 1), 2)

    serve(model, story)


def test_a_prompt_that_gives_no_numbers_fails_alone(model: Any) -> None:
    poison = torch.full((4, pico.WIDTH), float("nan"))

    async def story(engine: TransformersEngine) -> list[Any]:
        jobs = [collect(engine, poison, Sampling(9)), collect(engine, prompt(model, 1), Sampling(9))]
        return await asyncio.gather(*jobs, return_exceptions=True)

    failed, fine = serve(model, story)
    assert isinstance(failed, EngineError)
    assert "no finite numbers" in str(failed)
    assert fine == alone(model, prompt(model, 1), 9)


def test_a_failed_step_reaches_all_who_were_in_it_and_the_engine_goes_on(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(engine: TransformersEngine) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(model, "forward", lambda **_: 1 / 0)
            jobs = [collect(engine, prompt(model, seed), Sampling(5)) for seed in range(3)]
            failed = await asyncio.gather(*jobs, return_exceptions=True)
        assert all(isinstance(error, EngineError) and not isinstance(error, EngineStopped) for error in failed)
        assert engine.failure is None
        assert await collect(engine, prompt(model, 1), Sampling(5)) == alone(model, prompt(model, 1), 5)

    serve(model, story)


def test_an_engine_that_goes_on_failing_says_that_it_is_dead(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "forward", lambda **_: 1 / 0)

    async def story(engine: TransformersEngine) -> None:
        jobs = [collect(engine, prompt(model, seed), Sampling(5)) for seed in range(FAILURES + 2)]
        failed = await asyncio.gather(*jobs, return_exceptions=True)
        assert [isinstance(error, EngineStopped) for error in failed] == [False] * FAILURES + [True] * 2
        assert "in a row" in str(engine.failure)
        with pytest.raises(EngineStopped, match="deploy again"):
            await collect(engine, prompt(model, 1), Sampling(1))

    serve(model, story, slots=1)


def test_closing_tells_everyone_and_refuses_who_comes_later(model: Any) -> None:
    async def story(engine: TransformersEngine) -> list[Any]:
        jobs = [asyncio.create_task(collect(engine, prompt(model, seed, 4), Sampling(400))) for seed in range(3)]
        await until(lambda: engine.running == 2)
        await engine.close()
        with pytest.raises(EngineStopped, match="closed"):
            await collect(engine, prompt(model, 1), Sampling(1))
        return await asyncio.gather(*jobs, return_exceptions=True)

    assert all(isinstance(error, EngineStopped) for error in serve(model, story, slots=2))


def test_a_closed_engine_lets_the_model_go(tmp_path: Path) -> None:
    pico.backbone(tmp_path)
    model: Any = LlamaForCausalLM.from_pretrained(tmp_path)
    model.eval()
    ref = weakref.ref(model)
    embeds = prompt(model, 1).detach()
    serve(model, lambda engine: collect(engine, embeds, Sampling(3)))
    del model
    gc.collect()
    assert ref() is None


def test_the_cache_is_never_wider_than_the_longest_that_runs(model: Any) -> None:
    widths: list[int] = []

    async def story(engine: TransformersEngine) -> None:
        async def talk(seed: int) -> None:
            async for _ in engine.stream(prompt(model, seed, 8 + seed % 5), Sampling(6)):
                cache, lengths = engine._batch._cache, engine._batch.lengths
                if cache is not None and lengths:
                    widths.append(cache.layers[0].keys.shape[2])

        for start in range(0, 60, 3):
            await asyncio.gather(*(talk(start + n) for n in range(3)))

    serve(model, story, slots=2)
    assert max(widths) <= 12 + 6, "60 sequences of 18 tokens at most passed through"


def test_what_the_check_before_the_engine_refuses() -> None:
    good = torch.zeros(3, 8)
    check(good, 8, 10)
    for bad, match in (
        (torch.zeros(3, 9), r"takes \(T, 8\)"),
        (torch.zeros(10, 8), "1 to 9"),
        (torch.zeros(0, 8), "1 to 9"),
        (good.log() * 0, "not all finite"),
    ):
        with pytest.raises(ValueError, match=match):
            check(bad, 8, 10)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"max_tokens": 0}, "at least one"),
        ({"temperature": float("nan")}, "finite"),
        ({"temperature": -1.0}, "negative"),
        ({"seed": -1}, "whole number"),
        ({"stop": ("",)}, "empty stop"),
    ],
)
def test_a_sampling_that_makes_no_sense_is_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Sampling(**wrong)


def test_tokens_arrive_one_by_one(model: Any) -> None:
    async def story(engine: TransformersEngine) -> int:
        stream: AsyncGenerator[int, None] = engine.stream(prompt(model, 1, 4), Sampling(400))
        async with aclosing(stream):
            await anext(stream)
            return engine._running[0].tokens

    assert serve(model, story) < 400
