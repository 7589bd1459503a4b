"""A deployment on the pico model: what it says, what it costs, what it refuses."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from modalities.base import BadMedia, Part, UnknownModality
from modalities.checkpoint import MANIFEST, Store, StoreError
from modalities.embedder import PromptTooLong
from serving.deployment import Chunk, Deployment, in_process
from serving.engine import Sampling
from serving.loading import loader
from tests import pico


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return pico.store(tmp_path_factory.mktemp("store"))


def tell(store: Store, story: Callable[[Deployment], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        deployment = in_process(store, str(store.live()))
        try:
            return await asyncio.wait_for(story(deployment), 60)
        finally:
            await deployment.close()

    return asyncio.run(run())


def heard(seed: int = 0, text: str = "What do you hear?") -> tuple[Part, ...]:
    return (Part("tone", pico.tone(seed)), Part("text", text))


async def chunks(deployment: Deployment, prompt: tuple[Part, ...], sampling: Sampling) -> list[Chunk]:
    async with aclosing(deployment.stream(prompt, sampling)) as stream:
        return [chunk async for chunk in stream]


def test_an_answer_is_what_the_model_generates_from_the_embedded_prompt(store: Store) -> None:
    async def story(deployment: Deployment) -> None:
        said = await chunks(deployment, heard(), Sampling(20))
        model: Any = deployment.engine._batch.model  # type: ignore[attr-defined]
        embeds = deployment.embedder.embed(heard()).embeds
        ids = model.generate(inputs_embeds=embeds[None], max_new_tokens=20, do_sample=False)[0]
        wanted = deployment.embedder.tokenizer.decode(ids, skip_special_tokens=True).removesuffix("\ufffd")
        assert "".join(chunk.text for chunk in said) == wanted

    tell(store, story)


def test_the_last_chunk_says_why_it_ended_and_what_it_cost(store: Store) -> None:
    *pieces, last = tell(store, lambda deployment: chunks(deployment, (*heard(), *heard(1)), Sampling(7)))
    assert all(piece.finish_reason is None and piece.usage is None for piece in pieces)
    assert last.finish_reason == "length"
    assert last.usage.completion_tokens == 7
    assert last.usage.media_tokens == {"tone": 8}
    assert last.usage.prompt_tokens > 8 + 2 * len(["What", "do", "you", "hear?"])


def test_a_stop_string_ends_the_answer_and_gives_its_place_back(store: Store) -> None:
    async def story(deployment: Deployment) -> None:
        whole = "".join(chunk.text for chunk in await chunks(deployment, heard(), Sampling(40)))
        stop = whole[10:13]
        said = await chunks(deployment, heard(), Sampling(400, stop=(stop,)))
        assert "".join(chunk.text for chunk in said) == whole[: whole.index(stop)]
        assert said[-1].finish_reason == "stop"
        await asyncio.sleep(0.2)
        assert deployment.engine.running == 0  # type: ignore[attr-defined]

    tell(store, story)


def test_the_context_cuts_an_answer(store: Store) -> None:
    async def story(deployment: Deployment) -> Chunk:
        room = deployment.embedder.max_tokens - len(deployment.embedder.embed([Part("text", "")]).embeds)
        words = "x" * (room - 3)
        return (await chunks(deployment, (Part("text", words),), Sampling(50)))[-1]

    last = tell(store, story)
    assert (last.finish_reason, last.usage.completion_tokens) == ("length", 3)


def test_many_answers_are_the_same_every_time_and_in_order(store: Store) -> None:
    prompts = [heard(seed, "Describe this." * (1 + seed % 3)) for seed in range(40)]

    async def story(deployment: Deployment) -> tuple[list[str], list[str], list[str], int]:
        done: list[None] = []
        first = await deployment.answers(prompts, Sampling(12), progress=lambda: done.append(None))
        again = await deployment.answers(prompts, Sampling(12))
        singly = ["".join([c.text for c in await chunks(deployment, p, Sampling(12))]) for p in prompts[:5]]
        return first, again, singly, len(done)

    first, again, singly, done = tell(store, story)
    assert first == again
    assert first[:5] == singly
    assert done == 40
    assert len(set(first)) > 10, "The answers depend on the prompts."


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        ((Part("tone", b"not a tone"),), BadMedia),
        ((Part("pulse", pico.tone()),), UnknownModality),
        ((Part("text", "tone " * 600),), PromptTooLong),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused_and_the_next_is_answered(
    store: Store, prompt: tuple[Part, ...], error: type[Exception]
) -> None:
    async def story(deployment: Deployment) -> list[str]:
        with pytest.raises(error):
            await deployment.answers([heard(), prompt], Sampling(3))
        return await deployment.answers([heard()], Sampling(3))

    assert len(tell(store, story)) == 1


def test_features_that_are_no_numbers_never_reach_the_engine(store: Store) -> None:
    async def story(deployment: Deployment) -> None:
        connector: Any = deployment.embedder.connectors["tone"]
        connector.scale.fill_(float("nan"))
        with pytest.raises(BadMedia, match="not all finite"):
            await deployment.answers([heard()], Sampling(3))
        assert deployment.engine.failure is None

    tell(store, story)


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="there is: vllm, transformers"):
        loader("steam")
    with pytest.raises(ValueError, match="Only vLLM takes engine arguments"):
        loader("transformers", {"dtype": "float32"})


def test_a_damaged_file_is_refused_by_name(pico_store: Store) -> None:
    live = str(pico_store.live())
    path = pico_store.folder(live) / "connectors" / "tone.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StoreError, match=r"tone\.safetensors is damaged"):
        in_process(pico_store, live)


def reforge(store: Store, change: Callable[[Path], None]) -> str:
    """The live checkpoint with changed files, published anew, so that every hash is right."""
    live = store.manifest(str(store.live()))
    work = store.work / "reforged"
    for name in live.files:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes((store.folder(live.id) / name).read_bytes())
    change(work)
    fields = {name: getattr(live, name) for name in type(live).model_fields if name not in ("id", "files")}
    return store.publish({name: work / name for name in live.files}, **fields).id


def test_a_connector_of_the_wrong_shape_is_refused_even_if_its_hash_is_right(pico_store: Store) -> None:
    def widen(work: Path) -> None:
        path = work / "connectors" / "tone.safetensors"
        save_file({name: torch.zeros(*value.shape, 2) for name, value in load_file(path).items()}, path)

    with pytest.raises(StoreError, match="does not fit"):
        in_process(pico_store, reforge(pico_store, widen))


def test_weights_that_are_no_numbers_are_refused_even_if_their_hash_is_right(pico_store: Store) -> None:
    def poison(work: Path) -> None:
        path = work / "llm" / "01-tone" / "adapter_model.safetensors"
        save_file({name: value * float("inf") for name, value in load_file(path).items()}, path)

    with pytest.raises(StoreError, match="not finite"):
        in_process(pico_store, reforge(pico_store, poison))


def test_a_deployment_cannot_be_changed(store: Store) -> None:
    deployment = in_process(store, str(store.live()))
    asyncio.run(deployment.close())
    with pytest.raises(AttributeError):
        deployment.engine = deployment.engine  # type: ignore[misc]


def test_a_manifest_that_was_edited_is_refused(pico_store: Store) -> None:
    live = str(pico_store.live())
    path = pico_store.folder(live) / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["deltas"][0]["scale"] = 7.0
    path.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="does not match its id"):
        in_process(pico_store, live)
