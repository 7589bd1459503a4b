"""What a modality's media show, in words that others use too: a table beside the modality, and how it is read.

A table is TOML. `[shows]` has, for each concept, patterns of what the modality's own samples say about a file: by the
sample's topic, a regular expression for a whole answer, its article aside. `[unclear]` has those about which one could
argue; what neither fits does not show the concept. `about` names the topics of which a file needs one to count at all,
`never` concepts that no file shows, `either` groups of which a file that shows none may show any. About a concept that
the table does not have nothing is known. It knows no modality.
"""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from modalities.base import TEXT, Part, Sample

Patterns = dict[str, dict[str, str]]  # concept -> topic -> what an answer looks like


class Table(BaseModel):
    """A modality's table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    never: tuple[str, ...] = ()
    either: tuple[tuple[str, ...], ...] = ()
    shows: Patterns
    unclear: Patterns = {}

    @property
    def concepts(self) -> frozenset[str]:
        """Those that it has."""
        return frozenset(self.shows) | frozenset(self.never)


@dataclass(frozen=True)
class Medium:
    """One file: what it shows, and what it does not show; of anything else nothing is known."""

    part: Part
    shows: frozenset[str]
    lacks: frozenset[str]


def read_table(path: Path) -> Table:
    """A table from its file."""
    return Table.model_validate(tomllib.loads(path.read_text("utf-8")))


def media(table: Table, samples: Iterable[Sample]) -> list[Medium]:
    """The files that samples are about, one at a time, and what they show; in order of first appearance."""
    facts: dict[Part, dict[str, set[str]]] = {}
    for sample in samples:
        parts = [part for part in sample.prompt if part.modality != TEXT]
        if len(parts) == 1:
            said = facts.setdefault(parts[0], defaultdict(set))
            said[sample.topic].update(_bare(answer) for answer in sample.answers)
    shows, unclear = _Reader(table.shows), _Reader(table.unclear)
    return [
        _medium(table, part, shows.of(said), unclear.of(said))
        for part, said in facts.items()
        if any(re.fullmatch(table.about, topic) for topic in said)
    ]


class _Reader:
    """What single answers say by a set of patterns; the same answer is given about many files."""

    def __init__(self, patterns: Patterns) -> None:
        self._patterns: dict[str, list[tuple[str, re.Pattern[str]]]] = defaultdict(list)  # by topics
        for concept, of in patterns.items():
            for topics, pattern in of.items():
                self._patterns[topics].append((concept, re.compile(pattern.strip(), re.IGNORECASE)))
        self._known: dict[tuple[str, str], frozenset[str]] = {}

    def of(self, said: Mapping[str, set[str]]) -> set[str]:
        """The concepts that any answer fits."""
        return {concept for topic in said for answer in said[topic] for concept in self._answer(topic, answer)}

    def _answer(self, topic: str, answer: str) -> frozenset[str]:
        key = topic, answer
        if key not in self._known:
            fitting = [of for topics, of in self._patterns.items() if re.fullmatch(topics, topic)]
            self._known[key] = frozenset(
                concept for of in fitting for concept, pattern in of if pattern.fullmatch(answer)
            )
        return self._known[key]


def _medium(table: Table, part: Part, shows: set[str], unclear: set[str]) -> Medium:
    for group in table.either:
        if shows.isdisjoint(group):
            unclear.update(group)
    return Medium(part, frozenset(shows), table.concepts - shows - unclear)


def _bare(answer: str) -> str:
    return re.sub(r"^(an?|the) ", "", answer)
