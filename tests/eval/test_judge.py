"""Normalised exact match: what counts as the same answer, and what does not."""

import pytest

from eval.judge import correct, normalise


@pytest.mark.parametrize(
    ("said", "accepted"),
    [
        ("A Cat.", "cat"),
        ("the cat", "a cat"),
        ("three", "3"),
        ("3", "Three!"),
        ("twenty-one", "21"),
        ("Twenty one bricks", "21 bricks"),
        ("1,000", "1000"),
        ("it’s red", "It's red"),
        ("t-shirt", "T shirt"),
        ("red / blue", "red, blue"),
        ("a 1x1 plate", "1 × 1 plate"),
        ("CAFÉ", "café"),
        ("A", "a."),  # a multiple choice: nothing is left when its article goes
        ("−3", "-3"),
        ("  two\nwords ", "two words"),
    ],
)
def test_these_are_the_same_answer(said: str, accepted: str) -> None:
    assert correct(said, ["something else", accepted])


@pytest.mark.parametrize(
    ("said", "accepted"),
    [
        ("cats", "cat"),
        ("a red cat", "cat"),
        ("3", "-3"),
        ("3.5", "35"),
        ("3", "13"),
        ("A4", "4"),  # the A of A4 is no article
        ("a-frame", "frame"),
        ("twenty twenty", "40"),
        ("one hundred", "100 hundred"),
        ("yes, it is", "yes"),
    ],
)
def test_these_are_not(said: str, accepted: str) -> None:
    assert not correct(said, [accepted])


@pytest.mark.parametrize("nothing", ["", " ", "...", "?!"])
def test_an_answer_without_words_is_never_right(nothing: str) -> None:
    assert not correct(nothing, ["", "...", "cat"])


def test_normalising_twice_changes_nothing_more() -> None:
    for text in ["The Twenty-One cats.", "a 1×1 plate", "don't", "3.50 of 1,000", "A", "-3", "o'clock"]:
        assert normalise(normalise(text)) == normalise(text)


def test_each_number_up_to_ninety_nine_is_its_digits() -> None:
    small = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    tens = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    for ten, word in enumerate(tens, start=2):
        assert normalise(word) == str(10 * ten)
        for unit in range(1, 10):
            assert normalise(f"{word}-{small[unit]}") == str(10 * ten + unit)
