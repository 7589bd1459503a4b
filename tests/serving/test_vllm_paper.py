"""A real vLLM with the paper's parts, tiny: it says about each modality what transformers does, and takes our exports.

It needs vLLM (`make vllm`).
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from extend.export import export
from modalities.base import Part
from modalities.checkpoint import Checkpoint, Store
from serving.deployment import in_process
from serving.engine import Sampling
from serving.loading import loader
from tests import paper
from tests.serving.running import STARTING, Running, serve, text, until

pytestmark = pytest.mark.skipif(
    find_spec("vllm") is None, reason="vLLM is a 700 MB download that not every machine wants: make vllm"
)
TOKENS = 16
QUESTION = "What is it?"
# All of it that a user of the exported folder would write; nothing of ours is on its path.
PLAIN = """
import json, sys
from vllm import LLM, SamplingParams

if __name__ == "__main__":
    llm = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=256, max_logprobs=384)
    greedy = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True, logprobs=384)
    (answer,) = llm.generate({"prompt_token_ids": json.loads(sys.argv[2])}, greedy)
    first = answer.outputs[0].logprobs[0]
    print(json.dumps([list(answer.outputs[0].token_ids), [first[id].logprob for id in sorted(first)]]))
"""


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Checkpoint]]:
    return paper.taught(tmp_path_factory.mktemp("paper"))


def prompts() -> list[list[tuple[str, bytes]]]:
    """Three files of each modality by themselves, then all four together."""
    alone = [[(name, paper.media(name, seed)[1])] for name in paper.STAGES for seed in range(3)]
    return [*alone, *([(name, paper.media(name, seed)[1]) for name in paper.STAGES] for seed in range(3))]


def by_transformers(store: Store, id: str) -> list[str]:
    async def run() -> list[str]:
        deployment = in_process(store, id)
        asked = [[*(Part(*one) for one in prompt), Part("text", QUESTION)] for prompt in prompts()]
        said = [(await deployment.answers([one], Sampling(TOKENS)))[0] for one in asked]
        await deployment.close()
        return said

    return asyncio.run(run())


def by_vllm(server: Running) -> list[str]:
    said = []
    for prompt in prompts():
        parts = [{name: base64.b64encode(data).decode()} for name, data in prompt]
        answer = server.ask(*parts, text(QUESTION), max_tokens=TOKENS)
        assert answer.status_code == 200, answer.text
        said.append(answer.json()["text"])
    return said


def test_both_engines_say_the_same_about_all_that_the_paper_s_encoders_see_and_hear(
    taught: tuple[Store, list[Checkpoint]],
) -> None:
    """CLIP, CLIP over frames, BEATs with a Q-Former, Point-BERT: the four merged stages, cold and by a swap."""
    store, made = taught
    truth = by_transformers(store, made[-1].id)
    assert len(set(truth)) > 4, "Otherwise saying the same would be easy."
    arguments = {"dtype": "float32", "max_model_len": paper.CONTEXT, "max_num_seqs": 4}
    with serve(store, made[-1].id, engine=loader("vllm", arguments)) as server:
        assert by_vllm(server) == truth
        for id in (made[0].id, made[-1].id):  # back to pictures alone, then all four again
            until(lambda id=id: server.deploy(id).status_code == 200, STARTING)  # type: ignore[misc]
        assert by_vllm(server) == truth


def test_exported_weights_are_loaded_by_plain_vllm_and_say_the_same(
    taught: tuple[Store, list[Checkpoint]], tmp_path: Path
) -> None:
    store, made = taught
    export(store, made[-1].id, tmp_path / "out")
    ids = [0, 2, 40, 50, 3, 60, 70, 80, 90, 100]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(tmp_path / "out"), json.dumps(ids)],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    tokens, odds = json.loads(done.stdout.splitlines()[-1])
    llm: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        wanted = llm(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        for _ in range(TOKENS):  # greedily; generate() would look away from tokens that pad, and from the end
            ids.append(int(llm(torch.tensor([ids])).logits[0, -1].argmax()))
    assert tokens == ids[-TOKENS:]
    assert (torch.tensor(odds) - wanted).abs().max() < 1e-4
