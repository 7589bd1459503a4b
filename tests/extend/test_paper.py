"""The paper's parts, tiny and random, through everything: published files in, four stages of MERA, answers out."""

import asyncio

import pytest

from modalities.assemble import assemble
from modalities.base import Part
from modalities.checkpoint import Checkpoint, Store
from serving.deployment import in_process as deploy
from serving.engine import Sampling
from tests import paper


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Checkpoint]]:
    return paper.taught(tmp_path_factory.mktemp("paper"))


def test_each_stage_is_merged_with_the_paper_s_weight(taught: tuple[Store, list[Checkpoint]]) -> None:
    assert [round(delta.scale, 4) for delta in taught[1][-1].deltas] == [1.0, 0.5, 0.3333, 0.25]


def test_realigning_moves_every_connector_again(taught: tuple[Store, list[Checkpoint]]) -> None:
    _, made = taught
    for before, after in zip(made, made[1:], strict=False):
        kept = [name for name in before.files if name.startswith("connectors/")]
        assert kept
        assert all(before.files[name] != after.files[name] for name in kept)


def test_the_encoders_are_named_by_their_weights(taught: tuple[Store, list[Checkpoint]]) -> None:
    kinds = {name: identity.split("-")[0] for name, identity in taught[1][-1].encoders.items()}
    assert kinds == {"image": "clip", "video": "clip", "audio": "beats", "pointcloud": "pointbert"}


def test_it_answers_about_all_four_at_once(taught: tuple[Store, list[Checkpoint]]) -> None:
    store, made = taught

    async def ask() -> tuple[str, dict[str, int]]:
        deployment = deploy(store, made[-1].id)
        try:
            prompt = [*(Part(name, paper.media(name, 2)[1]) for name in paper.STAGES), Part("text", "What is it?")]
            embedded = await deployment.embed(prompt)
            answer = await deployment.answers([prompt], Sampling(max_tokens=4))
            return answer[0], embedded.media_tokens
        finally:
            await deployment.close()

    answer, tokens = asyncio.run(ask())
    assert isinstance(answer, str)
    assert tokens == {"image": 16, "video": 16, "audio": 4, "pointcloud": 513}


def test_the_chat_template_is_the_backbone_s_own(taught: tuple[Store, list[Checkpoint]]) -> None:
    store, made = taught
    embedder = assemble(store, made[-1]).embedder
    said = embedder.tokenizer.decode(embedder.before), embedder.tokenizer.decode(embedder.after)
    assert said[0] == "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
    assert said[1] == "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
