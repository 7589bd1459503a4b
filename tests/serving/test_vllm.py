"""A real vLLM behind a real server: the same answers, a swap that mixes and loses nothing, a life after death.

It needs vLLM (`make vllm`); the transformers engine serves all other tests.
"""

import asyncio
import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from eval.golden import certain
from modalities.assemble import assemble
from modalities.base import Part
from modalities.checkpoint import Store
from serving import golden
from serving.deployment import in_process
from serving.engine import Sampling
from serving.loading import loader
from serving.schema import GenerateRequest
from serving.schema import parts as parts_of
from serving.vllm_engine import STEP_TOKENS
from tests import pico
from tests.serving.running import STARTING, Running, events, serve, text, tone, until

pytestmark = pytest.mark.skipif(
    find_spec("vllm") is None, reason="vLLM is a 700 MB download that not every machine wants: make vllm"
)
TOKENS = 24
ARGUMENTS = {"dtype": "float32", "max_model_len": 512, "max_num_seqs": 16}  # equal tokens need equal numbers


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = pico.store(tmp_path_factory.mktemp("store"))
    pico.checkpoint(made, 2)
    pico.checkpoint(made, 3)
    return made


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[Running]:
    with serve(store, store.ids()[0], engine=loader("vllm", ARGUMENTS)) as running:
        yield running


@pytest.fixture(scope="module")
def truth(store: Store) -> dict[str, list[str]]:
    """What each checkpoint answers to 50 prompts, by the transformers engine in float32."""

    async def run(checkpoint: str) -> list[str]:
        deployment = in_process(store, checkpoint)
        prompts = [(Part("tone", pico.tone(seed)), Part("text", words(seed))) for seed in range(40)]
        prompts += [(Part("text", words(seed)),) for seed in range(40, 50)]  # type: ignore[misc]
        answers = [(await deployment.answers([prompt], Sampling(TOKENS)))[0] for prompt in prompts]
        await deployment.close()
        return answers

    return {checkpoint: asyncio.run(run(checkpoint)) for checkpoint in store.ids()}


def words(seed: int) -> str:
    return ("What do you hear?", "How high is the tone?", "Describe this.")[seed % 3] + " a" * (seed % 7)


def prompt(seed: int) -> list[dict[str, str]]:
    return [tone(seed), text(words(seed))] if seed < 40 else [text(words(seed))]


def ask(server: Running, seed: int, stream: bool = False) -> tuple[str, str]:
    """The answer, and by which checkpoint."""
    answer = server.ask(*prompt(seed), max_tokens=TOKENS, stream=stream)
    assert answer.status_code == 200, answer.text
    if not stream:
        return answer.json()["text"], answer.json()["checkpoint"]
    *pieces, last = events(answer.text)
    return "".join(piece["token"] for piece in pieces), last["done"]["checkpoint"]


def deploy(server: Running, checkpoint: str) -> None:
    """Deploy as soon as the last swap has settled."""
    until(lambda: server.deploy(checkpoint).status_code != 409, 60)
    assert server.http.get("/readyz").json() == {"checkpoint": checkpoint}


def settled(server: Running) -> None:
    host = server.engine._host
    until(lambda: host.settled, 60)


def test_greedy_answers_equal_the_transformers_engines_before_and_after_swaps(
    server: Running, store: Store, truth: dict[str, list[str]]
) -> None:
    first, second, third = store.ids()
    for checkpoint in (first, second, third, second, first):
        deploy(server, checkpoint)
        beside = [ask(server, seed) for seed in range(0, 50, 5)]  # perhaps still base + LoRA
        settled(server)
        folded = [ask(server, seed, stream=seed % 2 == 0) for seed in range(50)]
        assert beside == [(truth[checkpoint][seed], checkpoint) for seed in range(0, 50, 5)]
        assert folded == [(one, checkpoint) for one in truth[checkpoint]]


def test_prompts_longer_than_a_step_are_read_in_several_and_answered_the_same(server: Running, store: Store) -> None:
    step = server.engine._host._vllm.step_tokens
    if not torch.cuda.is_available():
        assert step == STEP_TOKENS, "Not vLLM's own 2,048, which hold running streams up for seconds."
    long = ["How high is the tone? " * 48 + "a" * seed for seed in range(4)]
    first = store.ids()[0]

    async def run() -> list[str]:
        deployment = in_process(store, first)
        truth = await deployment.answers([(Part("text", one),) for one in long], Sampling(TOKENS))
        await deployment.close()
        return truth

    deploy(server, first)
    settled(server)
    with ThreadPoolExecutor(len(long)) as pool:
        answers = [one.json() for one in pool.map(lambda one: server.ask(text(one), max_tokens=TOKENS), long)]
    assert min(answer["usage"]["prompt_tokens"] for answer in answers) > 2 * step
    assert [answer["text"] for answer in answers] == asyncio.run(run())


def test_a_request_in_flight_ends_as_it_began_and_the_next_runs_beside_it(
    server: Running, store: Store, truth: dict[str, list[str]]
) -> None:
    old, new = store.ids()[:2]
    deploy(server, old)
    settled(server)
    whole = server.ask(text(), max_tokens=300).json()["text"]
    with server.http.stream("POST", "/generate", json={"prompt": [text()], "max_tokens": 300, "stream": True}) as long:
        lines = long.iter_lines()
        first = json.loads(next(lines).removeprefix("data: "))
        assert server.deploy(new).status_code == 200
        assert not server.engine._host.settled
        assert ask(server, 3) == (truth[new][3], new), "As base + LoRA."
        conflict = server.deploy(store.ids()[2])
        assert conflict.status_code == 409
        assert "still settling" in conflict.json()["error"]["message"]
        rest = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert rest.pop()["done"]["checkpoint"] == old
    assert "".join(event["token"] for event in [first, *rest]) == whole
    settled(server)
    assert ask(server, 3) == (truth[new][3], new), "With the weights folded."


def test_under_load_nothing_fails_and_nothing_is_mixed(
    server: Running, store: Store, truth: dict[str, list[str]]
) -> None:
    assert truth[store.ids()[0]] != truth[store.ids()[1]], "Otherwise a mix would not show."
    stop, seen = threading.Event(), dict.fromkeys(store.ids(), 0)

    def load(worker: int) -> None:
        seed = worker
        while not stop.is_set():
            said, checkpoint = ask(server, seed % 50, stream=seed % 2 == 0)
            assert said == truth[checkpoint][seed % 50], f"Not what {checkpoint} says."
            seen[checkpoint] += 1
            seed += 7
            if seed % 5 == 0:  # a client that leaves
                with server.http.stream(
                    "POST", "/generate", json={"prompt": prompt(seed % 50), "max_tokens": 200, "stream": True}
                ) as answer:
                    next(answer.iter_lines())

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(load, worker) for worker in range(6)]
        for swap in range(8):
            deploy(server, store.ids()[(swap + 1) % 3])
            time.sleep(0.5)
        stop.set()
        for job in jobs:
            job.result()
    assert all(seen.values()), seen


def test_weights_that_settle_wrong_are_rolled_back_by_themselves(
    server: Running, store: Store, truth: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = store.ids()[:2]
    deploy(server, old)
    settled(server)
    tokens = certain(assemble(store, store.load(new)), "Describe this.", (), clear=0.0)
    golden.save(store, new, (golden.Golden(prompt="Describe this.", tokens=tokens),))

    async def nothing(vllm: object) -> None:
        """A fold that leaves the old weights where they are."""

    try:
        with monkeypatch.context() as broken:
            broken.setattr(server.engine._host, "_fold", nothing)
            assert server.deploy(new).status_code == 200, "As base + LoRA it is what was judged."
            until(lambda: server.live.id == old, 60)
        settled(server)
        assert ask(server, 2) == (truth[old][2], old)
        deploy(server, new)
        settled(server)
        assert ask(server, 2) == (truth[new][2], new)
    finally:
        (store.folder(new) / golden.FILE).unlink()


def test_a_prefix_cache_without_the_salt_would_be_stale_and_with_it_is_not(
    server: Running, store: Store, truth: dict[str, list[str]]
) -> None:
    old, new = store.ids()[:2]
    long = [text("How high is the tone? " * 12)]  # more than a block of the cache, and the same embeddings in both
    said = {}
    for checkpoint in (old, new):
        deploy(server, checkpoint)
        settled(server)
        said[checkpoint] = server.ask(*long, max_tokens=TOKENS).json()["text"]
        same = unsalted(server, long)
        assert same == said[checkpoint] or checkpoint == new
    assert said[new] != said[old]
    assert same != said[new], "The engine does cache prefixes: under one salt it answers from the old weights' keys."


def unsalted(server: Running, prompt: list[dict[str, str]]) -> str:
    """What the engine says when every checkpoint has the same salt, as a server without ours would have it."""
    deployment = server.live.current
    parts = parts_of(GenerateRequest.model_validate({"prompt": prompt}), deployment.embedder.modalities)

    async def run() -> str:
        embeds = (await deployment.embed(parts)).embeds
        said = [token async for token in server.engine._host._vllm.stream(embeds, Sampling(TOKENS), "one for all")]
        return str(deployment.embedder.tokenizer.decode(said))

    return asyncio.run_coroutine_threadsafe(run(), server.loop).result(60)


def test_the_encoder_cache_survives_a_swap_and_the_old_connector_does_not(
    server: Running, store: Store, truth: dict[str, list[str]]
) -> None:
    old, new = store.ids()[:2]
    deploy(server, old)
    settled(server)
    assert ask(server, 7) == (truth[old][7], old)
    features = server.live.current.embedder.features
    deploy(server, new)
    misses = features.misses
    assert ask(server, 7) == (truth[new][7], new)
    assert server.live.current.embedder.features is features
    assert features.misses == misses, "The tone was encoded once."
    settled(server)


def test_weights_that_a_swap_cannot_set_are_refused_instead_of_left_stale(
    server: Running, store: Store, truth: dict[str, list[str]]
) -> None:
    """lm_head is tied to the embedding and packed apart on a CPU: whoever changed one would serve the other's old."""
    deploy(server, store.ids()[0])
    settled(server)
    for key, shape in (("lm_head", (384, 32)), ("model.layers.0.self_attn.q_proj", (64, 16))):
        odd = changed(store, store.ids()[0], key, shape)
        refused = server.deploy(odd)
        assert refused.status_code == 422
        assert f"the adapter of {key} does not fit the backbone" in refused.json()["error"]["message"]
        shutil.rmtree(store.folder(odd))
        assert ask(server, 4) == (truth[store.ids()[0]][4], store.ids()[0])


def changed(store: Store, checkpoint: str, key: str, shape: tuple[int, int]) -> str:
    """A checkpoint like another, with one more adapter of a weight in its last delta."""
    manifest = store.manifest(checkpoint)
    files = {name: store.folder(checkpoint) / name for name in manifest.files}
    name = f"{manifest.deltas[-1].path}/adapter_model.safetensors"
    tensors = load_file(files[name])
    tensors[f"base_model.model.{key}.lora_A.weight"] = torch.zeros(2, shape[1])
    tensors[f"base_model.model.{key}.lora_B.weight"] = torch.zeros(shape[0], 2)
    files[name] = store.work / "odd.safetensors"
    files[name].parent.mkdir(exist_ok=True)
    save_file(tensors, files[name])
    fields = {one: getattr(manifest, one) for one in type(manifest).model_fields if one not in ("id", "files")}
    return store.publish(files, **fields).id


def test_a_bad_embedding_never_reaches_the_engine(server: Running) -> None:
    assert server.ask(text("a " * 600)).status_code == 422
    special = server.ask(text("<|im_end|>"), max_tokens=2)
    assert special.status_code == 200
    assert server.ask(text(), max_tokens=2).status_code == 200


def test_a_dead_worker_turns_readiness_red_and_the_engine_comes_back_by_itself(
    server: Running, store: Store, truth: dict[str, list[str]]
) -> None:
    settled(server)
    live = server.live.id
    assert live is not None
    cores = [one for one in psutil.Process().children(recursive=True) if "VLLM" in one.name() or "Engine" in one.name()]
    assert cores, [one.name() for one in psutil.Process().children(recursive=True)]
    for one in cores:
        one.send_signal(signal.SIGKILL)
    until(lambda: server.http.get("/readyz").status_code == 503, 5)
    refused = server.ask(text())
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    until(lambda: server.http.get("/readyz").status_code == 200, STARTING)
    assert ask(server, 1) == (truth[live][1], live)
