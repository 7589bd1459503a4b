"""A user's own folder: what it becomes, and the one line that each mistake gets."""

import json
from pathlib import Path
from typing import Any

import pytest

from modalities.base import TEXT, Part
from modalities.checkpoint import Store
from modalities.userdata import DESCRIBE, BadData, datasets, folder, keep
from tests import pico
from tests.toy.tone import MODALITY as TONE

CAPTION = {"id": "c1", "task": "caption", "media": "a.tone", "answers": ["a low tone", "a tone, low"]}
QUESTION = {"id": "q1", "task": "qa", "media": {"tone": "a.tone"}, "question": "How high?", "answers": ["low"]}
TEST_CAPTION = CAPTION | {"id": "c2", "media": "sub/b.tone"}
TEST_QUESTION = QUESTION | {"id": "q2", "media": "sub/b.tone", "topic": "pitch"}


def write(path: Path, *lines: Any) -> None:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder that is right."""
    root = tmp_path / "my-tones"
    (root / "sub").mkdir(parents=True)
    (root / "a.tone").write_bytes(pico.tone(0))
    (root / "sub" / "b.tone").write_bytes(pico.tone(1))
    write(root / "train.jsonl", CAPTION, "", QUESTION)
    write(root / "test.jsonl", TEST_CAPTION, TEST_QUESTION)
    return root


def complaint(root: Path) -> str:
    with pytest.raises(BadData) as error:
        folder(TONE, root)
    text = str(error.value)
    assert "\n" not in text
    assert str(root.parent) not in text
    return text


def test_a_folder_becomes_a_dataset_for_each_task(mine: Path) -> None:
    captions, questions = folder(TONE, mine)
    assert (captions.name, captions.task) == ("my-tones-caption", "caption")
    assert (questions.name, questions.task) == ("my-tones-qa", "qa")
    assert captions.train[0].prompt == (Part("tone", mine / "a.tone"), Part(TEXT, DESCRIBE))
    assert captions.train[0].answers == ("a low tone", "a tone, low")
    assert questions.test[0].prompt == (Part("tone", mine / "sub/b.tone"), Part(TEXT, "How high?"))
    assert (questions.train[0].topic, questions.test[0].topic) == ("", "pitch")


def test_a_task_that_is_not_there_makes_no_dataset(mine: Path) -> None:
    write(mine / "train.jsonl", QUESTION)
    write(mine / "test.jsonl", TEST_QUESTION)
    assert [one.name for one in folder(TONE, mine)] == ["my-tones-qa"]


def test_a_caption_may_bring_its_own_question(mine: Path) -> None:
    write(mine / "train.jsonl", CAPTION | {"question": "What do you hear?"}, QUESTION)
    assert folder(TONE, mine)[0].train[0].prompt[-1].content == "What do you hear?"


def test_one_line_may_hold_media_of_two_modalities(mine: Path) -> None:
    (mine / "a.pulse").write_bytes(pico.tone(2))
    write(mine / "train.jsonl", CAPTION, QUESTION | {"media": {"tone": "a.tone", "tests.toy.pulse": "a.pulse"}})
    assert [part.modality for part in folder(TONE, mine)[1].train[0].prompt] == ["tone", "pulse", TEXT]


def test_a_byte_order_mark_is_no_mistake(mine: Path) -> None:
    (mine / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + (mine / "train.jsonl").read_bytes())
    assert len(folder(TONE, mine)) == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (QUESTION | {"media": "none.tone"}, "the media file 'none.tone' is missing; put it into the folder"),
        (QUESTION | {"answers": []}, "'answers' cannot be used; give a list of at least one accepted answer"),
        (QUESTION | {"answers": "low"}, "'answers' cannot be used; give a list"),
        (QUESTION | {"answers": [" "]}, "'answers' cannot be used"),
        (QUESTION | {"task": "vqa"}, "'task' cannot be used; write 'caption' or 'qa'"),
        (QUESTION | {"media": "a.wav"}, "'a.wav' is no tone file; it takes .tone"),
        (QUESTION | {"media": {"smell": "a.tone"}}, "No modality 'smell'"),
        (QUESTION | {"media": {"tests.toy.pulse": "a.pulse"}}, "there is no 'tone' among its media"),
        (QUESTION | {"media": {}}, "'media' cannot be used; name a file"),
        (QUESTION | {"media": 7}, "'media' cannot be used; name a file"),
        (QUESTION | {"media": "../a.tone"}, "'../a.tone' lies outside the data folder; copy it into the folder"),
        (QUESTION | {"media": "/etc/hostname"}, "'/etc/hostname' lies outside the data folder"),
        (QUESTION | {"colour": "red"}, "unknown key 'colour'; known: id, task, media, question, answers"),
        (QUESTION | {"id": 7}, "'id' cannot be used; write a text that is not empty"),
        (QUESTION | {"id": "c1"}, "the id 'c1' is there twice; give each line its own"),
        ({k: v for k, v in QUESTION.items() if k != "answers"}, "the key 'answers' is missing"),
        ({k: v for k, v in QUESTION.items() if k != "question"}, "a 'qa' line needs a question"),
        ("{not json", "this is not JSON; write one object on one line"),
        ("[1, 2]", "this is no object"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_by_file_and_number(line: Any, says: str, mine: Path) -> None:
    (mine / "a.pulse").write_bytes(pico.tone(2))
    (mine.parent / "a.tone").write_bytes(pico.tone(3))
    write(mine / "train.jsonl", CAPTION, "", line)
    text = complaint(mine)
    assert text.startswith("train.jsonl, line 3: ")
    assert says in text


def test_a_link_out_of_the_folder_is_an_escape(mine: Path) -> None:
    (mine.parent / "secret.tone").write_bytes(pico.tone(3))
    (mine / "link.tone").symlink_to(mine.parent / "secret.tone")
    write(mine / "train.jsonl", CAPTION, QUESTION | {"media": "link.tone"})
    assert "lies outside the data folder" in complaint(mine)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(mine: Path) -> None:
    (mine / "a.tone").write_bytes(b"1 " * TONE.max_bytes)
    assert "larger than the 64,000 bytes that tone takes" in complaint(mine)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert (
        complaint(tmp_path / "none") == "There is no data folder 'none'; give a folder with train.jsonl and test.jsonl."
    )


@pytest.mark.parametrize("split", ["train", "test"])
def test_each_split_must_be_there_and_hold_something(split: str, mine: Path) -> None:
    write(mine / f"{split}.jsonl", "", " ")
    assert complaint(mine) == f"{split}.jsonl is empty; add a line for each {split} item."
    (mine / f"{split}.jsonl").unlink()
    assert complaint(mine).startswith(f"There is no {split}.jsonl in the data folder; add one")


def test_a_split_that_is_no_text(mine: Path) -> None:
    (mine / "test.jsonl").write_bytes(b"\xff\xfe\x00")
    assert complaint(mine) == "test.jsonl is not UTF-8 text; save it as UTF-8."


def test_a_task_must_be_in_both_splits(mine: Path) -> None:
    write(mine / "test.jsonl", TEST_CAPTION)
    assert complaint(mine).startswith("test.jsonl has no 'qa' line, the other split has")


def test_a_test_item_must_be_new(mine: Path) -> None:
    write(mine / "test.jsonl", TEST_CAPTION | {"id": "c1"}, TEST_QUESTION)
    assert "the id 'c1' is in train.jsonl too" in complaint(mine)
    write(mine / "test.jsonl", TEST_CAPTION, TEST_QUESTION | {"media": "a.tone"})
    assert "'q2' asks what train.jsonl asks of the same file" in complaint(mine)


def test_a_kept_folder_is_what_a_checkpoint_is_measured_on(mine: Path, pico_store: Store) -> None:
    kept = keep(pico_store, TONE, mine)
    assert keep(pico_store, TONE, mine) == kept
    manifest = pico_store.manifest(str(pico_store.live()))
    own = datasets(pico_store, manifest)
    assert [one.name for one in own["tone"]] == ["tone-caption", "tone-qa"]
    users = datasets(pico_store, manifest.model_copy(update={"recipe": {"data": {"tone": kept}}}))
    assert [one.name for one in users["tone"]] == [f"{kept}-caption", f"{kept}-qa"]
    assert users["tone"][1].test[0].prompt[0].data() == (mine / "sub/b.tone").read_bytes()
