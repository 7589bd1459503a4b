"""Recipes, mixtures and replay: what a run is told to do, and what it draws."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from extend.data import StageData, batches, by_media, draw, thin
from extend.recipe import Recipe, RecipeError, load
from modalities.base import Part, Sample


def sample(media: int, question: int, task: str = "qa") -> Sample:
    prompt = (Part("tone", media.to_bytes(2)), Part("text", f"question {question}"))
    return Sample(f"{media}-{question}", task, prompt, ("yes",))  # type: ignore[arg-type]


SAMPLES = tuple(sample(m, number, "qa" if number else "caption") for m in range(100) for number in range(3))


def test_replay_takes_its_share_of_every_modality() -> None:
    data = StageData(new=SAMPLES[:150], old=(SAMPLES[150:], SAMPLES[:30]))
    assert [len(domain) for domain in data.replay(0.1, seed=0)] == [15, 3, 15], "The new modality is the last."
    assert data.replay(1.0, seed=0) == [list(SAMPLES[150:]), list(SAMPLES[:30]), list(SAMPLES[:150])]


def test_fresh_samples_stand_in_for_the_new_modalitys_share() -> None:
    data = StageData(new=SAMPLES[:150], old=(SAMPLES[150:],))
    assert data.replay(0.1, seed=0, fresh=SAMPLES[:60]) == [draw(SAMPLES[150:], 0.1, seed=0), list(SAMPLES[:60])]


def test_what_is_asked_about_one_file_is_drawn_together() -> None:
    drawn = draw(SAMPLES, 0.2, seed=1)
    assert len(drawn) == 60
    assert all(len(group) == 3 for group in by_media(drawn))
    assert drawn != draw(SAMPLES, 0.2, seed=2)
    assert drawn == draw(SAMPLES, 0.2, seed=1)


def test_an_epoch_shows_every_sample_once() -> None:
    epoch = batches(SAMPLES, 16, seed=0)
    assert sorted(s.id for batch in epoch for s in batch) == sorted(s.id for s in SAMPLES)
    assert max(map(len, epoch)) <= 16
    assert [s.id for s in epoch[0]] != [s.id for s in batches(SAMPLES, 16, seed=1)[0]]


def test_a_batch_is_padded_little() -> None:
    uneven = tuple(sample(media, question) for media in range(400) for question in range(1 + media % 6))

    def waste(chunks: Sequence[Sequence[Sample]]) -> float:
        rows = [[len(group) for group in by_media(chunk)] for chunk in chunks]
        return sum(len(row) * max(row) for row in rows) / sum(map(sum, rows))

    unsorted = [uneven[start : start + 16] for start in range(0, len(uneven), 16)]
    assert waste(batches(uneven, 16, seed=0)) < 1.15 < 1.4 < waste(unsorted)


def test_captions_are_thinned_and_questions_are_not() -> None:
    half = thin(SAMPLES, 0.5, seed=0)
    counts = Counter(one.task for one in SAMPLES), Counter(one.task for one in half)
    assert counts[1]["qa"] == counts[0]["qa"] > 0
    assert counts[1]["caption"] == counts[0]["caption"] // 2 > 0
    assert half == [one for one in SAMPLES if one in half]
    assert thin(SAMPLES, 1.0, seed=0) == list(SAMPLES)
    assert half != thin(SAMPLES, 0.5, seed=1)


def test_the_paper_s_recipe_is_table_9() -> None:
    paper = load("paper")
    assert (paper.align.batch, paper.tune.batch, paper.realign.batch) == (128, 16, 16)
    assert (paper.align.lr_connector, paper.tune.lr_connector, paper.realign.lr_connector) == (1e-3, 2e-5, 2e-5)
    assert (paper.tune.lr_llm, paper.warmup, paper.replay) == (2e-4, 0.03, 0.1)
    assert (paper.lora.rank, paper.lora.alpha, paper.warm, paper.calibrate) == (128, 128, None, False)
    assert {paper.align.epochs, paper.tune.epochs, paper.realign.epochs} == {1}
    assert {paper.align.share, paper.tune.share, paper.realign.share} == {1.0}
    assert {paper.align.captions, paper.tune.captions, paper.realign.captions} == {1.0}


def test_a_change_on_the_command_line_goes_into_the_recipe() -> None:
    assert load("embedded", seed=7, replay=0.01) == load("embedded").model_copy(update={"seed": 7, "replay": 0.01})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("base_llm = 3", "base_llm"),
        ('base_llm = "pico"', "lora"),
        ("base_llm", "not TOML"),
        ('base_llm = "pico"\nrank = 3', "rank|lora"),
    ],
)
def test_a_broken_recipe_is_refused_by_field(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(RecipeError, match=complaint) as error:
        load(str(tmp_path / "mine.toml"))
    assert str(tmp_path) not in str(error.value)


def test_an_unknown_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match="embedded, paper"):
        load("fast")


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match="replay"):
        Recipe.model_validate({**load("paper").model_dump(), "replay": 10})
