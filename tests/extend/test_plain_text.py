"""Plain text, replayed: the backbone's own words, made once, and what tuning on them keeps."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from extend.data import by_media, draw
from extend.plain import plain
from extend.recipe import Recipe
from extend.run import add
from modalities.assemble import assemble, bare
from modalities.base import TEXT, Part, Sample
from modalities.checkpoint import Store
from modalities.mllm import IGNORED, MLLM
from tests import pico
from tests.extend.recipes import VALUES

TALK = {
    "How high is the tone?": "a loud high tone",
    "What do you hear?": "a soft low tone",
    "Describe the middle pulse.": "a middle pulse, loud and long and loud and long",
    "Is it a loud tone?": "low",
}


def recipe(**wanted: int) -> Recipe:
    return Recipe.model_validate(VALUES | {"plain": wanted})


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store whose pico backbone has learned to ask and answer a few things."""
    store = Store(tmp_path_factory.mktemp("talking"))
    pico.backbone(store.assets / "pico")
    model = bare(store, "pico", None)
    model.llm.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.llm.parameters(), lr=1e-2)
    for _ in range(120):
        loss = torch.stack([whole_turn(model, question, answer) for question, answer in TALK.items()]).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.llm.save_pretrained(store.assets / "pico")
    return store


def whole_turn(model: MLLM, question: str, answer: str) -> Tensor:
    """The loss on both sides of a conversation."""
    embedder = model.embedder
    end = [embedder.tokenizer.eos_token_id]
    ids = embedder.before + embedder.ids(question) + embedder.after + embedder.ids(answer) + end
    loss: Tensor = model.llm(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss
    return loss


def test_questions_and_answers_are_the_backbones_own_and_made_once(talking: Store) -> None:
    made = plain(talking, recipe(samples=3, tokens=32))
    assert len({sample.prompt for sample in made}) == len(made) == 3
    (file,) = talking.data.glob("plain-*.jsonl")
    before = file.stat().st_mtime_ns
    assert plain(talking, recipe(samples=3, tokens=32)) == made
    assert file.stat().st_mtime_ns == before
    model = bare(talking, "pico", None)
    for sample in made:
        embeds = model.embedder.embed(sample.prompt).embeds[None]
        said = model.llm.generate(inputs_embeds=embeds, max_new_tokens=32, do_sample=False, pad_token_id=0)
        assert model.embedder.tokenizer.decode(said[0], skip_special_tokens=True).strip() == sample.answers[0]


def test_an_answer_that_was_cut_does_not_teach_to_stop_there(talking: Store) -> None:
    whole, cut = plain(talking, recipe(samples=3, tokens=32)), plain(talking, recipe(samples=3, tokens=2))
    assert all(sample.whole for sample in whole)
    assert not all(sample.whole for sample in cut)
    model = bare(talking, "pico", None)
    end = model.embedder.tokenizer.eos_token_id
    for samples in (whole, cut):
        labels = [label for row in model.rows(samples) for label in row.labels if label != IGNORED]
        assert labels.count(end) == sum(sample.whole for sample in samples)


def test_without_a_word_in_the_recipe_there_is_none(talking: Store) -> None:
    assert plain(talking, Recipe.model_validate(VALUES)) == ()


def test_text_alone_is_drawn_question_by_question() -> None:
    text = [Sample(f"t{n}", "qa", (Part(TEXT, f"question {n}"),), ("yes",)) for n in range(20)]
    assert len(by_media(text)) == 20
    assert len(draw(text, 0.5, seed=0)) == 10


def test_tuning_with_plain_text_keeps_what_tuning_without_it_loses(talking: Store, tmp_path: Path) -> None:
    spoken = plain(talking, recipe(samples=4, tokens=32))

    def loss(model: MLLM) -> float:
        with torch.no_grad():
            return float(model.loss(spoken))

    def taught(with_text: Recipe) -> float:
        return loss(assemble(talking, add(talking, "tests.toy.tone", with_text, parent=None)))

    before, without, kept = (
        loss(bare(talking, "pico", None)),
        taught(Recipe.model_validate(VALUES)),
        taught(recipe(samples=4, tokens=32)),
    )
    assert before < 0.5
    assert kept < without - 0.5
