"""What the General MIDI programs are called: instruments with their families, and sounds of everyday life.

The table is instruments.toml. It knows no sound and no question.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

REGISTERS = {"l": "low", "m": "middle", "h": "high"}


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument: the programs that sound like it, and how it is spoken of."""

    name: str  # the answer: "saxophone"
    family: str
    programs: tuple[int, ...]
    closer: tuple[str, ...]  # a name for each program: "alto saxophone"
    registers: tuple[str, ...]  # in which it can play; () for what has no clear pitch
    plural: bool
    sings: bool

    @property
    def pitched(self) -> bool:
        """Whether its notes can rise and fall."""
        return bool(self.registers)

    @property
    def notes(self) -> tuple[str, str]:
        """What it plays: one of them, several of them."""
        return ("note", "notes") if self.pitched else ("beat", "beats")

    def spoken(self, program: int) -> str:
        """A program's name with its article: "an alto saxophone", "tubular bells"."""
        name = self.closer[self.programs.index(program)]
        return name if self.plural else f"{article(name)} {name}"

    @property
    def verb(self) -> str:
        """What it does, in the number that fits: "plays", "play", "sings"."""
        verb = "sing" if self.sings else "play"
        return verb if self.plural else f"{verb}s"


@dataclass(frozen=True, slots=True)
class Event:
    """A sound that is no instrument: "a helicopter", and whole captions for it."""

    program: int
    name: str
    captions: tuple[str, ...]


def article(noun: str) -> str:
    """ "an" before a vowel: no noun of the table is spoken otherwise than it is written."""
    return "an" if noun[0].lower() in "aeiou" else "a"


@cache
def instruments() -> tuple[Instrument, ...]:
    """All instruments, in the table's order."""
    table = _table()
    grammar = table["grammar"]
    return tuple(
        Instrument(
            name,
            family,
            tuple(programs),
            tuple(closer[0]) if closer else (name,) * len(programs),
            tuple(REGISTERS[letter] for letter in registers),
            name in grammar["plural"],
            name in grammar["sings"],
        )
        for family, group in table.items()
        if family not in ("events", "grammar")
        for programs, name, registers, *closer in group["rows"]
    )


@cache
def events() -> tuple[Event, ...]:
    """All sounds that are no instrument."""
    return tuple(Event(program, name, tuple(captions)) for program, name, captions in _table()["events"]["rows"])


def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("instruments.toml").read_text("utf-8"))
