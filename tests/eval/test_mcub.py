"""Multiple choice over several media: the file is read strictly, and a letter is a letter."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval import EvalError
from eval.mcub import _single, choice, measure, read_items, text
from eval.predictions import FOLDER, read, save
from modalities.checkpoint import Store
from tests import pico

OPTIONS = ("a cat", "a dog", "rain", "an engine")
ITEM = {"id": "1", "media": {"tone": "1.tone"}, "question": "What is in both?", "options": OPTIONS, "answer": "B"}


def write(folder: Path, *items: dict[str, Any]) -> Path:
    for number in range(4):
        (folder / f"{number}.tone").write_bytes(pico.tone(number))
    path = folder / "choices.jsonl"
    path.write_text("\n".join(map(json.dumps, items)) + "\n\n")
    return path


def both(folder: Path) -> Path:
    """Two media in one item, as an object and as a list in its own order."""
    mixed = {"tone": "0.tone", "pulse": "2.tone"}
    listed = [{"text": "First:"}, {"pulse": "3.tone"}, {"text": "then:"}, {"tone": "1.tone"}, {"pulse": "1.tone"}]
    for number in range(4):
        (folder / f"{number}.pulse").write_bytes(pico.tone(number))
    as_pulses = json.loads(json.dumps([mixed, listed]).replace('"pulse": "2.tone"', '"pulse": "2.pulse"'))
    as_pulses = json.loads(json.dumps(as_pulses).replace("3.tone", "3.pulse").replace('se": "1.tone', 'se": "1.pulse'))
    return write(folder, ITEM | {"media": as_pulses[0]}, ITEM | {"id": "2", "media": as_pulses[1], "answer": "D"})


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("B", "B"), ("b", "B"), (" B. ", "B"), ("(c)", "C"), ("D) an engine", "D"), ("A: a cat", "A"),
        ("a dog", "B"), ("A dog.", "B"), ("The answer is C", "C"), ("Option D", "D"), ("the answer: (B)", "B"),
        ("", None), ("a bird", None), ("E", None), ("A or B", None), ("A cat and a dog", None), ("Both", None),
        ("the answer is A, or the answer is B", None), ("Absolutely", None), ("Dogs bark", None),
    ],
)  # fmt: skip
def test_an_answer_is_a_letter_or_an_options_text(said: str, letter: str | None) -> None:
    assert choice(said, OPTIONS) == letter


def test_a_file_is_asked_with_all_its_media_and_scored(pico_store: Store, tmp_path: Path) -> None:
    path = both(tmp_path)
    checkpoint = pico.checkpoint(pico_store, 2, ("tests.toy.tone", "tests.toy.pulse"))
    made = measure(pico_store, checkpoint.id, path, tmp_path)
    assert (made.n, made.accuracy, made.unreadable) == (2, 0.0, 2), "A pico model answers nothing of use."
    kept = pico_store.folder(checkpoint.id) / FOLDER / made.predictions
    said = read(kept)
    assert said[0].question.endswith("Answer with the letter of the right option.")
    assert "\nB. a dog\n" in said[0].question
    assert said[1].question.startswith("First: then: What is in both?")
    save(kept, [one.model_copy(update={"prediction": letter}) for one, letter in zip(said, "BC", strict=True)])
    again = measure(pico_store, checkpoint.id, path, tmp_path)
    assert (again.accuracy, again.unreadable) == (0.5, 0), "Scored again without asking again."
    assert again.lower <= 0.5 <= again.upper
    assert "50.0% of 2 right" in text(again)
    assert "guessing: 25%" in text(again)
    assert measure(pico_store, checkpoint.id, path, tmp_path, limit=1).n == 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"options": OPTIONS[:3]}, "line 2, options: Tuple should have at least 4 items"),
        ({"options": ("a cat", "Cat", "rain", "x")}, "two of its options are the same"),
        ({"answer": "E"}, "line 2, answer: Input should be 'A', 'B', 'C' or 'D'"),
        ({"media": {}}, "line 2, media"),
        ({"media": [{"tone": "a", "pulse": "b"}]}, "a part of `media` must have one key"),
        ({"colour": "red"}, "line 2, colour: Extra inputs"),
        ({"id": "0"}, "the id '0' is there twice"),
    ],
)
def test_a_line_is_read_strictly(changes: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    path = write(tmp_path, ITEM | {"id": "0"}, ITEM | changes)
    with pytest.raises(EvalError, match=complaint):
        read_items(path)


def test_a_file_without_items_or_none_at_all_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"choices\.jsonl has no items"):
        read_items(write(tmp_path))
    with pytest.raises(EvalError, match=r"There is no UTF-8 file 'none\.jsonl'"):
        read_items(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("media", "complaint"),
    [
        ({"smell": "1.tone"}, "has not learned 'smell'; it knows tone"),
        ({"tone": "9.tone"}, "'9.tone' is not in the media folder"),
        ({"tone": "../choices.tone"}, "is not in the media folder"),
        ({"tone": "choices.jsonl"}, "'choices.jsonl' is no tone file"),
    ],
)
def test_media_are_checked_before_a_model_is_loaded(
    pico_store: Store, tmp_path: Path, media: dict[str, str], complaint: str
) -> None:
    path = write(tmp_path, ITEM | {"media": media})
    with pytest.raises(EvalError, match=complaint):
        measure(pico_store, str(pico_store.live()), path, tmp_path)


def test_figures_are_split_by_the_number_of_media_and_the_kind(pico_store: Store, tmp_path: Path) -> None:
    path = both(tmp_path)
    first, second = map(json.loads, path.read_text().splitlines()[:2])
    path.write_text("\n".join(map(json.dumps, [first | {"kind": "which"}, second | {"kind": "share"}])))
    checkpoint = pico.checkpoint(pico_store, 2, ("tests.toy.tone", "tests.toy.pulse"))
    made = measure(pico_store, checkpoint.id, path, tmp_path)
    kept = pico_store.folder(checkpoint.id) / FOLDER / made.predictions
    save(kept, [one.model_copy(update={"prediction": "B"}) for one in read(kept)])
    made = measure(pico_store, checkpoint.id, path, tmp_path)
    assert {number: (one.n, one.accuracy) for number, one in made.media.items()} == {2: (1, 1.0), 3: (1, 0.0)}
    assert {kind: one.accuracy for kind, one in made.kinds.items()} == {"which": 1.0, "share": 0.0}
    assert "2 media: 100.0% of 1; 3 media: 0.0% of 1; share: 0.0% of 1; which: 100.0% of 1" in text(made)


def test_the_ablation_shows_one_medium_of_each_and_asks_the_same(pico_store: Store, tmp_path: Path) -> None:
    path = both(tmp_path)
    checkpoint = pico.checkpoint(pico_store, 2, ("tests.toy.tone", "tests.toy.pulse"))
    whole = measure(pico_store, checkpoint.id, path, tmp_path)
    made = measure(pico_store, checkpoint.id, path, tmp_path, single=True)
    assert made.single
    assert made.media.keys() == whole.media.keys(), "An item still counts by what it has."
    assert made.predictions != whole.predictions
    said = read(pico_store.folder(checkpoint.id) / FOLDER / made.predictions)
    assert all(one.question.startswith("What is in both?") for one in said), "The texts between the media go too."
    assert all(len(_single(item).parts) == 1 for item in read_items(path))
    assert "one medium of each item only" in text(made)
