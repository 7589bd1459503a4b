"""What a judge of answers is, and the one that needs no network: normalised exact match with any accepted answer.

Two texts match when they differ in case, punctuation, articles or in how a number is written, and in nothing else.
Another judge is a language model (eval/llm_judge.py). It knows no dataset and no model.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter

from eval.report import Agreement, Frozen, Judging

EXACT = "normalised exact match"
VERDICTS = Path(__file__).with_name("data") / "verdicts.json"

_SMALL = """zero one two three four five six seven eight nine ten
eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"""
_ROUND = """twenty thirty forty fifty sixty seventy eighty ninety"""
_TENS = {word: 10 * n for n, word in enumerate(_ROUND.split(), start=2)}
_NUMBERS = {word: n for n, word in enumerate(_SMALL.split())} | _TENS
_ARTICLE = re.compile(r"(?<![\w-])(a|an|the)(?!['-]?\w)")  # a word of its own: not the A of A4
_TOKEN = re.compile(r"(?<!\w)[-−](?=\d)|\d+(?:,\d{3})+(?!\d)|\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)*|[^\W_]+")


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer that is to be judged, with the question and the accepted answers."""

    question: str
    answers: tuple[str, ...]
    prediction: str


@dataclass(frozen=True, slots=True)
class Mark:
    """1 for a right answer, 0 for a wrong one; or none, and why. Never 0 for want of a judgement."""

    score: float | None
    unscored: str | None = None
    note: str | None = None  # what was odd about a reply that was taken


class Judge(Protocol):
    """Says of answers whether they are right."""

    @property
    def name(self) -> str:
        """Whose judgement it is: scores compare only where it is the same."""
        ...

    def marks(self, asked: Sequence[Asked]) -> list[Mark]:
        """A mark for each answer."""
        ...

    def tally(self) -> Judging:
        """What all marks so far came to."""
        ...


class ExactMatch:
    """Normalised exact match: no network, no cost, no opinion."""

    name = EXACT

    def __init__(self) -> None:
        self._asked = 0

    def marks(self, asked: Sequence[Asked]) -> list[Mark]:
        """See Judge."""
        self._asked += len(asked)
        return [Mark(float(correct(one.prediction, one.answers))) for one in asked]

    def tally(self) -> Judging:
        """See Judge."""
        return Judging(judge=self.name, asked=self._asked)


class Checked(Frozen):
    """A verdict that was checked; by whom, docs/gate.md says."""

    question: str
    answers: tuple[str, ...]
    prediction: str
    right: bool


@cache
def checked() -> tuple[Checked, ...]:
    """The shipped verdicts."""
    return TypeAdapter(tuple[Checked, ...]).validate_json(VERDICTS.read_bytes())


def agreement(judge: Judge) -> Agreement:
    """How a judge fares on the shipped verdicts: Cohen's kappa, which is 0 for a judge that guesses.

    Cohen, A Coefficient of Agreement for Nominal Scales (1960).
    """
    known = checked()
    marks = judge.marks([Asked(one.question, one.answers, one.prediction) for one in known])
    pairs = [(float(one.right), mark.score) for one, mark in zip(known, marks, strict=True) if mark.score is not None]
    n, unscored = len(pairs), len(known) - len(pairs)
    if not n:
        return Agreement(n=0, unscored=unscored, accuracy=0.0, kappa=0.0)
    same = sum(one == other for one, other in pairs) / n
    yes, said = sum(one for one, _ in pairs) / n, sum(other for _, other in pairs) / n
    chance = yes * said + (1 - yes) * (1 - said)
    return Agreement(n=n, unscored=unscored, accuracy=same, kappa=(same - chance) / (1 - chance) if chance < 1 else 1.0)


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
