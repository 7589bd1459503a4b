"""A checkpoint takes another's place while requests are in flight: none fails, none is mixed, nothing grows."""

import asyncio
import gc
import json
import resource
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaForCausalLM

from eval.golden import certain
from modalities.assemble import assemble
from modalities.base import Part
from modalities.checkpoint import MANIFEST, Store, StoreError
from serving import golden
from serving.deployment import in_process
from serving.engine import Sampling
from tests import pico
from tests.serving.running import Running, events, serve, text, tone, until

TOKENS = 24


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = pico.store(tmp_path_factory.mktemp("store"))
    pico.checkpoint(made, 2)
    pico.checkpoint(made, 3)
    return made


@pytest.fixture
def server(store: Store) -> Iterator[Running]:
    store.set_live(store.ids()[0])
    with serve(store, store.ids()[0]) as running:
        yield running


def truth(store: Store, checkpoint: str, seeds: range) -> list[str]:
    """What exactly this checkpoint answers to tones with these seeds."""
    prompts = [(Part("tone", pico.tone(seed)), Part("text", "What do you hear?")) for seed in seeds]

    async def run() -> list[str]:
        deployment = in_process(store, checkpoint)
        answers = [await deployment.answers([prompt], Sampling(TOKENS)) for prompt in prompts]
        await deployment.close()
        return [answer for one in answers for answer in one]

    return asyncio.run(run())


def test_under_load_every_answer_is_exactly_that_of_the_checkpoint_it_names(server: Running, store: Store) -> None:
    seeds, stop = range(8), threading.Event()
    wanted = {checkpoint: truth(store, checkpoint, seeds) for checkpoint in store.ids()}
    assert wanted[store.ids()[0]] != wanted[store.ids()[1]], "Otherwise a mix would not show."
    seen: dict[str, int] = dict.fromkeys(store.ids(), 0)

    def ask(seed: int, stream: bool) -> None:
        while not stop.is_set():
            answer = server.ask(tone(seed), text(), max_tokens=TOKENS, stream=stream)
            assert answer.status_code == 200, answer.text
            if stream:
                *pieces, last = events(answer.text)
                said, checkpoint = "".join(piece["token"] for piece in pieces), last["done"]["checkpoint"]
            else:
                said, checkpoint = answer.json()["text"], answer.json()["checkpoint"]
            assert checkpoint == answer.headers["x-checkpoint"]
            assert said == wanted[checkpoint][seed], f"Not what {checkpoint} says."
            seen[checkpoint] += 1

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(ask, seed, seed % 2 == 0) for seed in seeds]
        for swap in range(9):
            assert server.deploy(store.ids()[(swap + 1) % 3]).status_code == 200
            time.sleep(0.2)
        stop.set()
        for job in jobs:
            job.result()
    assert all(count > 0 for count in seen.values()), seen


def test_a_request_in_flight_ends_with_the_checkpoint_it_began_with(server: Running, store: Store) -> None:
    old, new = store.ids()[:2]
    whole = server.ask(text(), max_tokens=400).json()["text"]
    with server.http.stream(
        "POST", "/generate", json={"prompt": [text()], "max_tokens": 400, "stream": True}
    ) as answer:
        lines = answer.iter_lines()
        first = json.loads(next(lines).removeprefix("data: "))
        assert server.deploy(new).json() == {"checkpoint": new, "previous": old}
        assert server.ask(text(), max_tokens=2).json()["checkpoint"] == new
        if server.live.resident == [old, new]:  # it is still being answered, on the old one
            assert server.ask(text(), max_tokens=2, checkpoint=old).json()["checkpoint"] == old
        rest = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert rest.pop()["done"]["checkpoint"] == old
    assert "".join(event["token"] for event in [first, *rest]) == whole
    until(lambda: server.live.resident == [new])
    assert server.ask(text(), checkpoint=old).status_code == 404
    assert server.ask(text(), checkpoint=new, max_tokens=1).status_code == 200


def test_naming_a_replaced_checkpoint_does_not_keep_it_for_ever(
    server: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.live.PINNED", 0.0)
    old, new = store.ids()[:2]
    assert server.deploy(old).status_code == 200
    with server.http.stream(
        "POST", "/generate", json={"prompt": [text()], "max_tokens": 400, "stream": True}
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert server.deploy(new).status_code == 200
        refused = server.ask(text(), max_tokens=2, checkpoint=old)
        assert refused.status_code == 404
        assert f"there is: {new}." in refused.json()["error"]["message"]
        done = [json.loads(line.removeprefix("data: ")) for line in lines if line][-1]
    assert done["done"]["checkpoint"] == old, "Whoever has begun is not sent away."


def test_rollback_goes_back_step_by_step_and_says_when_nothing_is_left(server: Running, store: Store) -> None:
    first, second, third = store.ids()
    for checkpoint in (second, third):
        server.deploy(checkpoint)
    back = [server.http.post("/admin/rollback", headers=server.admin) for _ in range(3)]
    assert [answer.status_code for answer in back] == [200, 200, 409]
    assert [answer.json() for answer in back[:2]] == [
        {"checkpoint": second, "previous": third},
        {"checkpoint": first, "previous": second},
    ]
    assert "Nothing was live before" in back[2].json()["error"]["message"]
    assert server.http.get("/modalities").json()["checkpoint"] == store.live() == first


def test_after_a_restart_rollback_goes_to_the_parent(pico_store: Store) -> None:
    parent = pico_store.manifest(pico_store.ids()[0])
    fields = {name: getattr(parent, name) for name in type(parent).model_fields if name not in ("id", "files")}
    files = {name: pico_store.folder(parent.id) / name for name in parent.files}
    child = pico_store.publish(files, **(fields | {"parent": parent.id, "stage": 2})).id
    with serve(pico_store, child) as server:
        answer = server.http.post("/admin/rollback", headers=server.admin)
        assert answer.json() == {"checkpoint": parent.id, "previous": child}


def test_a_second_deploy_during_a_swap_is_a_conflict(
    server: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, release = threading.Event(), threading.Event()

    load = server.live._loader.load

    async def slow(store: Store, checkpoint: str) -> Any:
        entered.set()
        assert await asyncio.to_thread(release.wait, 30)
        return await load(store, checkpoint)

    monkeypatch.setattr(server.live._loader, "load", slow)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(server.deploy, store.ids()[1])
        assert entered.wait(30)
        for again in (server.deploy(store.ids()[2]), server.http.post("/admin/rollback", headers=server.admin)):
            assert again.status_code == 409
        assert f"{store.ids()[1]} is being deployed" in server.deploy(store.ids()[2]).json()["error"]["message"]
        assert server.ask(text(), max_tokens=1).json()["checkpoint"] == store.ids()[0], "The old one serves meanwhile."
        release.set()
        assert job.result().status_code == 200


def test_a_checkpoint_that_says_something_else_than_when_it_was_judged_does_not_go_live(
    server: Running, store: Store
) -> None:
    first, second, third = store.ids()
    golden.save(store, third, (golden.Golden(prompt="Describe this.", tokens=said(store, third)),))
    golden.save(store, second, (golden.Golden(prompt="Describe this.", tokens=said(store, third)),))
    try:
        assert server.deploy(third).status_code == 200
        assert server.deploy(first).status_code == 200, "Never gated: nothing to compare with."
        refused = server.deploy(second)
        assert refused.status_code == 422
        assert (
            "does not say what it said when it was judged (to 'Describe this.')" in refused.json()["error"]["message"]
        )
        assert server.ask(text(), max_tokens=1).json()["checkpoint"] == store.live() == first
        (store.folder(second) / golden.FILE).write_text("[{]")
        assert "golden.json is damaged" in server.deploy(second).json()["error"]["message"]
    finally:
        for checkpoint in (second, third):
            (store.folder(checkpoint) / golden.FILE).unlink()


def said(store: Store, checkpoint: str) -> tuple[int, ...]:
    """The tokens of what a checkpoint says to a golden prompt, whether it is sure of them or not."""
    return certain(assemble(store, store.load(checkpoint)), "Describe this.", (), clear=0.0)


def test_deploying_what_is_live_changes_nothing(server: Running, store: Store) -> None:
    before = server.live.current
    assert server.deploy(store.ids()[0]).json()["previous"] == store.ids()[0]
    assert server.live.current is before


def test_a_dead_engine_turns_readiness_red_and_a_deploy_of_the_same_checkpoint_heals(
    server: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.engine._batch.model, "forward", lambda **_: 1 / 0)
    until(lambda: server.ask(text()).json()["error"]["type"] == "not_ready")
    ready = server.http.get("/readyz")
    assert ready.status_code == 503
    assert "deploy again" in ready.json()["error"]["message"]
    assert server.http.get("/healthz").status_code == 200
    assert server.deploy(store.ids()[0]).status_code == 200
    assert server.ask(text(), max_tokens=1).status_code == 200


def truncate(store: Store, checkpoint: str) -> None:
    path = store.folder(checkpoint) / "connectors" / "tone.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def garble(store: Store, checkpoint: str) -> None:
    (store.folder(checkpoint) / MANIFEST).write_text("{}")


def remove(store: Store, checkpoint: str) -> None:
    (store.folder(checkpoint) / "llm" / "01-tone" / "adapter_model.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (truncate, "tone.safetensors is damaged"),
        (garble, "checkpoint.json is damaged"),
        (remove, "adapter_model.safetensors is missing"),
    ],
)
def test_a_deploy_that_fails_leaves_the_old_one_serving_and_says_why(
    pico_store: Store, damage: Any, match: str
) -> None:
    old, bad = str(pico_store.live()), pico.checkpoint(pico_store, 2).id
    damage(pico_store, bad)
    with serve(pico_store, old) as server:
        before = server.ask(tone(), text()).json()
        answer = server.deploy(bad)
        assert answer.status_code == 422
        assert match in answer.json()["error"]["message"]
        assert str(pico_store.root) not in answer.text
        assert server.ask(tone(), text()).json() == before
        assert pico_store.live() == old
        assert server.live.resident == [old]


def test_a_server_whose_first_checkpoint_is_damaged_says_so_until_another_is_deployed(pico_store: Store) -> None:
    bad = pico_store.ids()[0]
    good = pico.checkpoint(pico_store, 2).id
    with serve(pico_store) as server:
        assert "no checkpoint is loaded" in server.http.get("/readyz").json()["error"]["message"]
        truncate(pico_store, bad)
        assert server.deploy(bad).status_code == 422
        ready = server.http.get("/readyz")
        assert (ready.status_code, ready.headers.get("x-checkpoint")) == (503, None)
        assert f"{bad} could not be loaded" in ready.json()["error"]["message"]
        assert server.ask(text()).status_code == server.http.get("/modalities").status_code == 503
        assert server.deploy(good).json() == {"checkpoint": good, "previous": None}
        assert server.ask(text(), max_tokens=1).json()["checkpoint"] == good


def test_a_store_that_cannot_be_written_leaves_the_old_one_serving(
    server: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("No disk space left for the store; free some and run the same command again.")

    monkeypatch.setattr(store, "set_live", full)
    answer = server.deploy(store.ids()[1])
    assert answer.status_code == 422
    assert "No disk space" in answer.json()["error"]["message"]
    assert server.ask(text(), max_tokens=1).json()["checkpoint"] == store.ids()[0]
    until(lambda: engines() == 1)


def engines() -> int:
    return sum(thread.name == "engine" for thread in threading.enumerate())


def models() -> int:
    gc.collect()
    return sum(type(one) is LlamaForCausalLM for one in gc.get_objects())


def memory() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_many_swaps_under_load_leave_one_model_one_engine_and_no_memory_behind(server: Running, store: Store) -> None:
    sizes: list[int] = []
    with ThreadPoolExecutor(2) as pool, ExitStack() as held:
        stop = threading.Event()
        held.callback(stop.set)

        def ask(seed: int) -> None:
            while not stop.is_set():
                assert server.ask(tone(seed), text(), max_tokens=8).status_code == 200

        jobs = [pool.submit(ask, seed) for seed in range(2)]
        for swap in range(24):
            assert server.deploy(store.ids()[(swap + 1) % 2]).status_code == 200
            until(lambda: len(server.live.resident) == 1)
            sizes.append(memory())
        stop.set()
        for job in jobs:
            job.result()
    until(lambda: models() == engines() == 1)
    assert max(sizes[-5:]) - min(sizes[4:9]) < 20 * 2**20, [size >> 20 for size in sizes]
