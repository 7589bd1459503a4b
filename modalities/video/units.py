"""Wesnoth's units and their animations: which picture sequences there are, who is shown, and what is done with what.

What is done follows from the game's own files (WML): the animation that a sequence belongs to, and the attack that
this animation is for; before that, from the last word of the pictures' name where the word leaves no doubt. What
neither tells is left out. It knows no clip and no question.
"""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path("usr", "share", "games", "wesnoth", "1.16", "data", "core")  # inside the fetched package
FEWEST = 3  # pictures of a sequence
VIEWS = ("n", "ne", "se", "s", "nw", "sw")  # a unit seen from behind (n) or from the front (s); else it looks right
CLOSE, AFAR = ("melee", "attack"), ("ranged", "fire", "throw")  # last words that stand for a unit's only such attack
HOVERING = {"attack_anim", "movement_anim", "standing_anim"}  # a sequence that serves for all three: it is in the air

_TAG = re.compile(r"\s*\[(/?)\+?(\w+)\]")
_KEY = re.compile(r'\s*(\w+)\s*=\s*_?\s*"?(?:female\^)?([^"#\n]*)')
_PICTURE = re.compile(r'units/[^\s",:()~\[]+')
_NUMBERED = re.compile(r"(.*?)-?(\d+)\.png")


@dataclass(frozen=True)
class Attack:
    """One of a unit's attacks: the name by which animations refer to it, and what the player reads."""

    name: str
    weapon: str
    ranged: bool


@dataclass
class Unit:
    """A unit type, and for which animations (and attacks) each sequence of pictures is played."""

    name: str
    race: str
    stem: str  # how its pictures' names begin
    attacks: list[Attack]
    shown: dict[str, set[tuple[str, str]]]


@dataclass(frozen=True)
class Scene:
    """Pictures of one unit that does one thing, seen from one side."""

    key: str  # how the pictures' names begin
    unit: str
    race: str
    action: str
    weapon: str | None  # None: there is none, or it cannot be told which
    view: str
    frames: tuple[Path, ...]

    @property
    def group(self) -> str:
        """What stays on one side of the split: all views, and both sexes, of a unit that does something."""
        return f"{self.unit}/{self.action}/{self.weapon or ''}"


def scenes(core: Path) -> list[Scene]:
    """All sequences of which it is known who does what, in the order of their names. `core`: the game's data."""
    units = [unit for path in sorted((core / "units").rglob("*.cfg")) for unit in _units(path)]
    found, races = [], _table()["races"]
    for key, frames in sorted(_sequences(core / "images").items()):
        unit = _owner(key, units)
        if unit is None:
            continue
        rest = [word for word in re.split(r"[-+_/]", key[len(unit.stem) :]) if word and word != "female"]
        view = next((word for word in rest if word in VIEWS), "")
        words = [word for word in rest if word not in VIEWS]
        done = _done(unit, key, words[-1] if words else "")
        if done is not None:
            found.append(Scene(key, unit.name, races.get(unit.race, unit.race), *done, view, frames))
    return found


def _done(unit: Unit, key: str, word: str) -> tuple[str, str | None] | None:
    """What the unit does in a sequence, and with which weapon; None if that cannot be told."""
    table = _table()
    if word in table["words"]:
        return table["words"][word], None
    shown = unit.shown.get(key, set())
    played = {tag for tag, _ in shown}
    if played >= HOVERING:
        return "flying", None
    used = [attack for attack in unit.attacks if ("attack_anim", attack.name) in shown]
    if not played and word in (*CLOSE, *AFAR):
        reach = [attack for attack in unit.attacks if attack.ranged == (word in AFAR)]
        used = reach if len(reach) == 1 else []
    elif played & {"death", "standing_anim", "idle_anim", "movement_anim"}:
        return None  # the same pictures for more than one thing
    actions = {_action(attack) for attack in used}
    if len(actions) != 1:
        return None
    weapons = {table["weapons"].get(attack.weapon, attack.weapon) for attack in used}
    action = actions.pop()
    armed = len(weapons) == 1 and action in ("striking", "shooting", "throwing")
    return action, (weapons.pop() or None) if armed else None


def _action(attack: Attack) -> str:
    if not attack.ranged:
        return "striking"
    attacks: dict[str, list[str]] = _table()["attacks"]
    return next((action for action, names in attacks.items() if attack.weapon in names), "shooting")


def _owner(key: str, units: list[Unit]) -> Unit | None:
    """The unit whose pictures are named most alike; of several, one that plays the sequence."""
    alike = [unit for unit in units if key.startswith(unit.stem) and key[len(unit.stem) :][:1] in ("", "-", "+", "_")]
    return max(alike, key=lambda unit: (len(unit.stem), key in unit.shown), default=None)


def _sequences(images: Path) -> dict[str, tuple[Path, ...]]:
    """`units/orcs/grunt-die` -> its pictures in order."""
    found: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for path in (images / "units").rglob("*.png"):
        if match := _NUMBERED.fullmatch(path.name):
            found[(path.parent.relative_to(images) / match[1]).as_posix()].append((int(match[2]), path))
    return {key: tuple(path for _, path in sorted(frames)) for key, frames in found.items() if len(frames) >= FEWEST}


def _units(path: Path) -> Iterator[Unit]:
    """The unit types of a file; a woman who has a name or a picture of her own is one too."""
    for block in re.split(r"^\s*\[unit_type\]", path.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        keys: dict[str, dict[str, str]] = {"": {}, "female": {}}
        attacks: list[dict[str, str]] = []
        shown: dict[str, set[tuple[str, str]]] = defaultdict(set)
        _walk(block, keys, attacks, shown)
        known = [
            Attack(one.get("name", ""), one.get("description") or one.get("name", ""), one.get("range") == "ranged")
            for one in attacks
        ]
        for sex in ("", "female"):
            own = keys[""] | keys[sex]
            whole = own.get("name") and own.get("race") and own.get("image", "").startswith("units/")
            if whole and (sex == "" or keys[sex].get("image")):
                yield Unit(own["name"].lower(), own["race"], _stem(own["image"]), known, shown)


def _walk(
    block: str,
    keys: dict[str, dict[str, str]],
    attacks: list[dict[str, str]],
    shown: dict[str, set[tuple[str, str]]],
) -> None:
    """Read one unit type: its own keys, its attacks, and the pictures of each animation."""
    tags: list[str] = []
    pictures: list[str] = []
    names: list[str] = []  # of the attacks that an animation is for
    for line in block.splitlines():
        if tag := _TAG.match(line):
            if not tag[1]:
                tags.append(tag[2])
                if tag[2] == "attack":
                    attacks.append({})
            elif tags:
                closed = tags.pop()
                if closed.endswith("_anim") or closed == "death":
                    for picture in pictures:
                        shown[picture] |= {(closed, name) for name in names or [""]}
                    pictures, names = [], []
            continue
        if any(tag.endswith("_anim") or tag == "death" for tag in tags):
            pictures += [_stem(picture) for picture in _PICTURE.findall(line)]
            if tags[-1] == "filter_attack" and "not" not in tags and (key := _KEY.match(line)) and key[1] == "name":
                names += [name.strip() for name in key[2].split(",")]
        elif key := _KEY.match(line):
            if not tags or tags == ["female"]:
                keys["female" if tags else ""].setdefault(key[1], key[2].strip())
            elif tags[-1] == "attack":
                attacks[-1].setdefault(key[1], key[2].strip())


def _stem(picture: str) -> str:
    """`units/undead/bat-se-3.png` and `units/undead/bat-se-[1~3].png` are pictures of `units/undead/bat-se`."""
    return re.sub(r"-?\d*(\.png.*)?$", "", picture)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "words.toml").read_text("utf-8"))
