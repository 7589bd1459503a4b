"""The things that the emoji data show, and their English: articles, plurals, what can be mistaken for what.

The table is concepts.toml. It knows no picture and no question.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

NUMBERS = ("no", "one", "two", "three")
SILENT = re.compile(r"(hour|x-ray)", re.I)  # a vowel for the ear, not for the eye
SPOKEN = re.compile(r"(uni|eu|ewe|one-)", re.I)  # the other way round
TAIL = re.compile(  # where a noun phrase goes on after the noun itself
    r" (of|with|in|on|at|from|behind|a|for|making|pointing|sticking|screaming|blowing|seen|taking|landing)\b.*"
)
SMALL = {"a", "an", "the", "of", "with", "in", "on", "at", "and", "from", "its"}


@dataclass(frozen=True)
class Concept:
    """One thing: what it is called, what kind of thing it is, and the emoji that show it."""

    labels: tuple[str, ...]
    noun: str
    plural: str | None  # None: a name or a word that is never counted
    kind: str
    group: str
    general: bool  # true of others of its kind too

    @property
    def name(self) -> str:
        """With its article: "an otter", "the Statue of Liberty"."""
        return self.noun if self.plural is None else f"{article(self.noun)} {self.noun}"

    @property
    def countable(self) -> bool:
        """Whether a picture of some of them has one clear number: two pairs of skis have four skis, too."""
        return self.plural is not None and not self.noun.startswith(("pair of", "set of"))

    def several(self, count: int) -> str:
        """Counted: "an otter", "two otters"."""
        assert self.plural is not None, f"{self.noun} cannot be counted"
        return self.name if count == 1 else f"{NUMBERS[count]} {self.plural}"

    def definite(self, count: int) -> str:
        """Pointed at: "the otter", "the otters"."""
        assert self.plural is not None, f"{self.noun} cannot be counted"
        return f"the {self.noun if count == 1 else self.plural}"

    def confusable(self, other: "Concept") -> bool:
        """Whether "is this (other)?" has no clear answer for this one."""
        related = (self.general or other.general) and self.kind == other.kind
        return related or not self._words.isdisjoint(other._words)

    @cached_property
    def _words(self) -> set[str]:
        text = " ".join((self.noun, self.plural or "", *self.labels)).lower()
        return set(re.findall(r"[a-zñ'’-]+", text)) - SMALL


@cache
def concepts() -> tuple[Concept, ...]:
    """All concepts of the table, in its order."""
    table = tomllib.loads((Path(__file__).parent / "concepts.toml").read_text("utf-8"))
    return tuple(
        _parse(entry, kind, row["group"], people=row.get("people", False))
        for kind, row in table.items()
        for entry in row["concepts"].split(";")
    )


def _parse(entry: str, kind: str, group: str, *, people: bool) -> Concept:
    """One entry: `label + label = noun / plural !`."""
    text = " ".join(entry.split())
    general = text.endswith("!")
    text, _, plural = (part.strip() for part in text.rstrip("! ").partition("/"))
    left, _, right = (part.strip() for part in text.partition("="))
    labels = tuple(label.strip() for label in left.split("+"))
    if people:
        bare = [re.sub("^(person|people) ", "", label) for label in labels]
        labels += tuple(f"{who} {label}" for label in bare for who in ("man", "woman"))
    noun = right or labels[0]
    if noun.startswith("^"):
        return Concept(labels, noun[1:], None, kind, group, general)
    return Concept(labels, noun, plural or pluralised(noun), kind, group, general)


def article(noun: str) -> str:
    """ "an" before a vowel that is heard, else "a"."""
    heard = (noun[0].lower() in "aeiou" or SILENT.match(noun)) and not SPOKEN.match(noun)
    return "an" if heard else "a"


def pluralised(noun: str) -> str:
    """The regular plural: of the noun itself in "slice of pizza"; irregular ones stand in the table."""
    tail = match[0] if (match := TAIL.search(noun)) else ""
    head = noun.removesuffix(tail)
    if re.search(r"(s|x|z|ch|sh)$", head):
        return f"{head}es{tail}"
    if re.search(r"[^aeiou]y$", head):
        return f"{head[:-1]}ies{tail}"
    return f"{head}s{tail}"
