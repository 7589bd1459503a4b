"""From tokens to text that may be shown."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from modalities.embedder import load_tokenizer
from serving.words import Words
from tests import pico


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("pico")
    pico.backbone(folder)
    return load_tokenizer(folder)


def say(tokenizer: Any, ids: list[int], *stop: str) -> tuple[list[str], bool]:
    words, pieces = Words(tokenizer, stop), []
    for token in ids:
        pieces.append(words.feed(token))
        if words.stopped:
            break
    return [*pieces, words.end()], words.stopped


def test_the_pieces_are_the_whole_text_and_no_character_is_ever_half(tokenizer: Any) -> None:
    whole = "Größe: 🎵 日本語 — a loud high tone, ñandú 👩‍🚀!" * 3
    pieces, _ = say(tokenizer, tokenizer(whole)["input_ids"])
    assert "".join(pieces) == whole
    assert not any("\ufffd" in piece for piece in pieces)
    assert len([piece for piece in pieces if piece]) > 50, "It does not wait for the end."


def test_any_tokens_give_what_the_tokenizer_says_less_a_half_character_at_the_end(tokenizer: Any) -> None:
    for seed in range(200):
        ids = [Random(seed * 1000 + n).randrange(pico.VOCABULARY) for n in range(1 + seed % 40)]
        pieces, _ = say(tokenizer, ids)
        wanted = tokenizer.decode(ids, skip_special_tokens=True)
        assert "".join(pieces) == wanted.removesuffix("\ufffd")


def test_a_special_token_is_not_shown(tokenizer: Any) -> None:
    ids = [*tokenizer("high")["input_ids"], 1, *tokenizer(" low")["input_ids"]]
    assert "".join(say(tokenizer, ids)[0]) == "high low"


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        (("high",), "a loud "),  # one token
        (("d hi",), "a lou"),  # across tokens
        (("gh tone.", "tone"), "a loud high "),  # the first that comes whole
        (("high tone", "loud h"), "a "),
        (("tones", "quiet"), "a loud high tone"),  # begun, but never come: all is said
        (("a",), ""),
    ],
)
def test_a_stop_string_ends_the_text_before_it(tokenizer: Any, stop: tuple[str, ...], said: str) -> None:
    pieces, stopped = say(tokenizer, tokenizer("a loud high tone")["input_ids"], *stop)
    assert "".join(pieces) == said
    assert stopped == (said != "a loud high tone")


def test_nothing_of_a_stop_string_is_shown_before_it_is_certain(tokenizer: Any) -> None:
    words = Words(tokenizer, ["xxy"])
    shown = [words.feed(tokenizer(letter)["input_ids"][0]) for letter in "axxxy"]
    assert shown == ["a", "", "", "x", ""]
    assert words.stopped
    assert words.end() == ""
