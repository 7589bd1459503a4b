"""Short phrases of notes: how many, which way, how fast, how high; some melodies are kept for the test.

All is whole numbers drawn by seed, so a phrase is the same everywhere. It knows no instrument and no sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from zlib import crc32

CENTRES = {"low": (43, 51), "middle": (57, 66), "high": (73, 82)}  # MIDI keys that a phrase lies around; 60 is middle C
LENGTHS = {"fast": (130, 190), "slow": (400, 500), "": (500, 1200)}  # milliseconds of a note; "" is a single one
MOST = 6  # notes
HELD_OUT = 8  # every so many-th melody is heard in the test only


@dataclass(frozen=True, slots=True)
class Phrase:
    """Notes one after the other, and what can be said of them; "" is what cannot."""

    keys: tuple[int, ...]  # MIDI
    lengths: tuple[int, ...]  # milliseconds
    velocities: tuple[int, ...]  # MIDI: how hard each is struck
    direction: str  # rising, falling, repeated, "up and down"
    speed: str  # fast, slow
    register: str  # low, middle, high

    @property
    def held_out(self) -> bool:
        """Whether this melody is kept for the test: by its steps, or by its keys where there are too few steps."""
        steps = tuple(after - before for before, after in zip(self.keys, self.keys[1:], strict=False))
        melody = steps if len(set(steps)) > 1 else self.keys
        return crc32(repr(melody).encode()) % HELD_OUT == 0


def compose(random: Random, registers: Sequence[str], *, held_out: bool) -> Phrase:
    """A phrase in one of the registers, from the melodies of one side; without registers it goes nowhere."""
    while True:
        phrase = _draw(random, registers)
        if phrase.held_out == held_out:
            return phrase


def linger(random: Random, *, held_out: bool) -> Phrase:
    """One long note, for a sound that plays no melody."""
    while True:
        length = random.randint(1500, 3000)
        phrase = Phrase((random.randint(50, 70),), (length,), (random.randint(70, 120),), "", "", "")
        if phrase.held_out == held_out:
            return phrase


def _draw(random: Random, registers: Sequence[str]) -> Phrase:
    count = random.randint(1, MOST)
    register = random.choice(registers) if registers else ""
    directions = {1: [""], 2: ["rising", "falling", "repeated"]}
    direction = random.choice(directions.get(count, ["rising", "falling", "repeated", "up and down"]))
    offsets = _offsets(random, count, direction)
    centre = random.randint(*CENTRES[register or "middle"]) - sum(offsets) // count
    speed = random.choice(["fast", "slow"]) if count > 1 else ""
    pace = random.randint(*LENGTHS[speed])
    return Phrase(
        keys=tuple(centre + offset for offset in offsets),
        lengths=tuple(pace * random.randint(95, 105) // 100 for _ in offsets),
        velocities=tuple(random.randint(70, 120) for _ in offsets),
        direction=direction if registers else "",
        speed=speed,
        register=register,
    )


def _offsets(random: Random, count: int, direction: str) -> list[int]:
    """Semitones from the first note."""
    steps = [random.choice((1, 2, 2, 3, 4)) for _ in range(count - 1)]
    match direction:
        case "repeated":
            steps = [0] * (count - 1)
        case "falling":
            steps = [-step for step in steps]
        case "up and down":
            first = random.choice((1, -1))
            steps = [(step + 2) * first * (-1) ** place for place, step in enumerate(steps)]
    offsets = [0]
    for step in steps:
        offsets.append(offsets[-1] + step)
    return offsets
