"""Who asks about files at the same time shares encoder passes, and no trouble."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from modalities.base import BadMedia, Part
from modalities.checkpoint import Store
from serving.deployment import Deployment, in_process
from tests import pico


def tell(store: Store, story: Callable[[Deployment], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        deployment = in_process(store, str(store.live()))
        try:
            return await asyncio.wait_for(story(deployment), 60)
        finally:
            await deployment.close()

    return asyncio.run(run())


class Watched:
    """Records the size of each encoder pass, and holds the first one up until it is released."""

    def __init__(self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
        encoder = deployment.embedder.encoder("tone")
        forward = encoder.forward
        self.sizes: list[int] = []
        self.release = threading.Event()

        def slow(media: Any) -> Any:
            self.sizes.append(len(media))
            assert self.release.wait(30)
            return forward(media)

        monkeypatch.setattr(encoder, "forward", slow)


def heard(content: bytes) -> tuple[Part, ...]:
    return (Part("tone", content), Part("text", "What do you hear?"))


def test_those_who_come_while_a_pass_runs_share_the_next(pico_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(deployment: Deployment) -> None:
        watched = Watched(deployment, monkeypatch)
        asking = [asyncio.create_task(deployment.embed(heard(pico.tone(0))))]
        while not watched.sizes:
            await asyncio.sleep(0.01)
        asking += [asyncio.create_task(deployment.embed(heard(pico.tone(seed % 5)))) for seed in range(12)]
        await asyncio.sleep(0.2)
        watched.release.set()
        together = await asyncio.gather(*asking)
        assert watched.sizes == [1, 4], "The same file is encoded once, and tones 1 to 4 at once."
        alone = [await deployment.embed(heard(pico.tone(seed % 5))) for seed in range(12)]
        assert watched.sizes == [1, 4], "And never again."
        for one, other in zip(together[1:], alone, strict=True):
            assert one.embeds.equal(other.embeds)
        features = deployment.embedder.features
        assert (features.hits, features.misses) == (12, 13)

    tell(pico_store, story)


def test_a_bad_file_is_told_to_who_sent_it_and_to_nobody_else(
    pico_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(deployment: Deployment) -> None:
        watched = Watched(deployment, monkeypatch)
        asking = [asyncio.create_task(deployment.embed(heard(pico.tone(0))))]
        while not watched.sizes:
            await asyncio.sleep(0.01)
        asking += [asyncio.create_task(deployment.embed(heard(one))) for one in (pico.tone(1), b"\x00", pico.tone(2))]
        await asyncio.sleep(0.2)
        watched.release.set()
        said = await asyncio.gather(*asking, return_exceptions=True)
        assert [isinstance(one, BadMedia) for one in said] == [False, False, True, False]
        assert watched.sizes == [1, 2]

    tell(pico_store, story)


def test_one_who_leaves_takes_the_pass_from_nobody(pico_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(deployment: Deployment) -> None:
        watched = Watched(deployment, monkeypatch)
        leaving, staying = (asyncio.create_task(deployment.embed(heard(pico.tone(0)))) for _ in range(2))
        while not watched.sizes:
            await asyncio.sleep(0.01)
        leaving.cancel()
        watched.release.set()
        assert len((await staying).embeds) > 4
        assert watched.sizes == [1]
        with pytest.raises(asyncio.CancelledError):
            await leaving

    tell(pico_store, story)
