"""The judge of QA answers: normalised exact match against any accepted answer.

Two texts match when they differ in case, punctuation, articles or in how a number is written, and in nothing else.
It knows no dataset and no model.
"""

import re
import unicodedata
from collections.abc import Sequence

JUDGE = "normalised exact match"

_SMALL = """zero one two three four five six seven eight nine ten
eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"""
_ROUND = """twenty thirty forty fifty sixty seventy eighty ninety"""
_TENS = {word: 10 * n for n, word in enumerate(_ROUND.split(), start=2)}
_NUMBERS = {word: n for n, word in enumerate(_SMALL.split())} | _TENS
_ARTICLE = re.compile(r"(?<![\w-])(a|an|the)(?!['-]?\w)")  # a word of its own: not the A of A4
_TOKEN = re.compile(r"(?<!\w)[-−](?=\d)|\d+(?:,\d{3})+(?!\d)|\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)*|[^\W_]+")


def correct(prediction: str, answers: Sequence[str]) -> bool:
    """Whether a prediction is one of the accepted answers."""
    said = normalise(prediction)
    return bool(said) and said in {normalise(answer) for answer in answers}


def normalise(text: str) -> str:
    """A text without case, punctuation and articles, its numbers as digits: "The Twenty-One cats." -> "21 cats"."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("×", "x")
    # An answer that *is* an article ("A", of a multiple choice) stays one.
    tokens = _TOKEN.findall(_ARTICLE.sub(" ", plain)) or _TOKEN.findall(plain)
    digits = _digits([token.replace(",", "").replace("−", "-") for token in tokens])
    return " ".join(digits).replace("- ", "-").replace("'", "")


def _digits(tokens: Sequence[str]) -> list[str]:
    """Number words as digits, a tens word and the unit after it as one: twenty one -> 21."""
    out: list[str] = []
    for before, token in zip(["", *tokens], tokens, strict=False):
        if before in _TENS and 0 < _NUMBERS.get(token, 0) < 10:
            out[-1] = str(_TENS[before] + _NUMBERS[token])
        else:
            out.append(str(_NUMBERS.get(token, token)))
    return out
