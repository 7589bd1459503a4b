"""Files and conversations: who takes a file, why one is refused, and which files a question carries."""

import base64
from pathlib import Path

import pytest

from ui.client import Live
from ui.conversation import Conversation, Shown
from ui.media import Media, Refused, accept, megabytes, offer

LIVE = Live.model_validate(
    {
        "checkpoint": "0002-scan-bbbb",
        "modalities": [
            {"name": "image", "media_types": ["image/png", "image/webp"], "suffixes": [".png"], "max_bytes": 1000},
            {"name": "scan", "media_types": ["model/ply"], "suffixes": [".gz", ".ply"], "max_bytes": 5_000_000},
            {"name": "scene", "media_types": ["model/obj"], "suffixes": [".obj.gz"], "max_bytes": 5_000_000},
        ],
    }
)


def a_file(folder: Path, name: str, content: bytes = b"content") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "sense", "display"),
    [
        ("cat.png", "image", "image"),
        ("CAT.PNG", "image", "image"),
        ("cat.webp", "image", "image"),  # by its media type
        ("part.ply", "scan", "model"),
        ("part.gz", "scan", "model"),
        ("part.obj.gz", "scene", "model"),  # the longest suffix wins
    ],
)
def test_the_servers_list_says_who_takes_a_file(tmp_path: Path, name: str, sense: str, display: str) -> None:
    media = accept(a_file(tmp_path, name), LIVE)
    assert (media.sense, media.display, media.name) == (sense, display, name)


@pytest.mark.parametrize("name", ["notes.pdf", "notes", "png"])
def test_an_unknown_kind_is_refused_with_what_is_understood(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused) as caught:
        accept(a_file(tmp_path, name), LIVE)
    sentence = str(caught.value)
    assert name in sentence
    assert "image (.png); scan (.gz, .ply); scene (.obj.gz)" in sentence


def test_a_large_file_is_refused_with_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="it has 2.5 kB, and image files may have 1 kB at most"):
        accept(a_file(tmp_path, "cat.png", bytes(2500)), LIVE)


def test_a_checkpoint_without_senses_says_so() -> None:
    assert offer(Live(checkpoint="0000-text", modalities=())) == "For now it understands text only."


@pytest.mark.parametrize(("size", "words"), [(12, "12 bytes"), (64_000, "64 kB"), (20_000_000, "20 MB")])
def test_sizes_read_well(size: int, words: str) -> None:
    assert megabytes(size) == words


class TestConversation:
    @pytest.fixture
    def talk(self) -> Conversation:
        return Conversation()

    @staticmethod
    def show(talk: Conversation, path: Path) -> None:
        talk.show(Shown(Media(path, "image", "image/png"), None))

    def test_a_question_carries_the_files_that_were_dropped_before_it(self, talk: Conversation, tmp_path: Path) -> None:
        self.show(talk, a_file(tmp_path, "a.png", b"a"))
        self.show(talk, a_file(tmp_path, "b.png", b"b"))
        question = talk.ask(" Which is larger? ")
        assert question is not None
        images = [{"image": base64.b64encode(content).decode()} for content in (b"a", b"b")]
        assert question.prompt() == [*images, {"text": "Which is larger?"}]
        assert talk.turns[-1] is question.answer

    def test_the_next_question_is_about_the_same_files_and_no_earlier_text(
        self, talk: Conversation, tmp_path: Path
    ) -> None:
        self.show(talk, a_file(tmp_path, "a.png"))
        talk.ask("What is this?")
        question = talk.ask("What colour is it?")
        assert question is not None
        assert [list(part) for part in question.prompt()] == [["image"], ["text"]]
        assert talk.subject() == "a.png"

    def test_a_file_after_a_question_replaces_the_old_one(self, talk: Conversation, tmp_path: Path) -> None:
        self.show(talk, a_file(tmp_path, "a.png"))
        talk.ask("What is this?")
        self.show(talk, a_file(tmp_path, "b.png"))
        assert talk.subject() == "b.png"

    def test_a_file_sent_without_a_word_is_asked_about(self, talk: Conversation, tmp_path: Path) -> None:
        assert talk.ask("  ") is None
        self.show(talk, a_file(tmp_path, "a.png"))
        question = talk.ask("")
        assert question is not None
        assert question.text == "What is this?"

    def test_a_forgotten_file_stays_on_the_page_but_is_not_sent(self, talk: Conversation, tmp_path: Path) -> None:
        self.show(talk, a_file(tmp_path, "a.png"))
        talk.forget()
        question = talk.ask("Hello?")
        assert question is not None
        assert question.prompt() == [{"text": "Hello?"}]
        assert talk.turns[0].shown is not None
