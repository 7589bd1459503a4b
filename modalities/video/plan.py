"""Which clips there are and what is said about each, decided before anything is drawn.

Whole pairs of a unit and an action are held out: no view and no drawing of them is in training, but each unit is, in
other actions. A split is a function of its name and of which pictures exist. It knows no file format.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal
from zlib import crc32

from modalities.video import wording
from modalities.video.clips import GROUNDS, TEAMS, TILE, Clip
from modalities.video.units import Scene

VERSION = "wesnoth-1.16.9-v1"  # change it whenever another clip or another word comes out
SPLITS: tuple["Split", "Split"] = ("train", "test")
HELD_OUT = 0.18  # of the pairs of a unit and an action, of each action
CLIPS = {"train": 400, "test": 48}  # wanted of each action; what is rare is shown more often
MOST = {"train": 14, "test": 6}  # clips of one scene
QUESTIONS = {"train": 1, "test": 3}  # about a clip, besides what is done
MOVING = ("running", "flying")
SIDEWAYS = ("", "se", "ne")  # views in which one looks to a side

Split = Literal["train", "test"]
Line = dict[str, Any]  # of train.jsonl and test.jsonl


@dataclass(frozen=True)
class Item:
    """A clip to draw and the lines about it."""

    name: str
    scene: Scene
    clip: Clip
    lines: tuple[Line, ...]


def plan(scenes: Sequence[Scene], core: Path, split: Split) -> list[Item]:
    """All clips of a split and what is said about them. `core`: the game's data."""
    held = held_out(scenes)
    mine = [scene for scene in scenes if (scene.group in held) == (split == "test")]
    number = Counter(scene.action for scene in mine)
    items: list[Item] = []
    for scene in mine:
        copies = max(1, min(MOST[split], round(CLIPS[split] / number[scene.action])))
        items += (_item(scene, core, split, copy) for copy in range(copies))
    return items


def held_out(scenes: Sequence[Scene]) -> set[str]:
    """The groups of the test: a share of each action's, such that every unit is seen in training too."""
    actions: dict[str, set[str]] = defaultdict(set)
    left: dict[str, set[str]] = defaultdict(set)
    unit_of = {scene.group: scene.unit for scene in scenes}
    for scene in scenes:
        actions[scene.action].add(scene.group)
        left[scene.unit].add(scene.group)
    held: set[str] = set()
    for _, groups in sorted(actions.items()):
        wanted = max(1, round(HELD_OUT * len(groups)))
        for group in sorted(groups, key=lambda group: crc32(group.encode())):
            unit = unit_of[group]
            if wanted and len(left[unit]) > 1:
                held.add(group)
                left[unit].remove(group)
                wanted -= 1
    return held


def _item(scene: Scene, core: Path, split: Split, copy: int) -> Item:
    random = Random(f"{scene.key} {copy}")  # not of VERSION: other words leave the clips as they are
    ground = random.choice(list(GROUNDS))
    clip = Clip(
        scene.frames,
        core / "images" / "terrain" / GROUNDS[ground],
        random.choice(list(TEAMS)),
        mirrored=(copy + crc32(scene.key.encode())) % 2 == 1,
        moving=scene.action in MOVING,
        margin=random.randint(4, 14),
        offset=(random.randrange(TILE), random.randrange(TILE)),
    )
    name = f"{wording.slug(scene.key.removeprefix('units/'))}-{copy:02d}"
    return Item(name, scene, clip, tuple(_lines(scene, clip, ground, split, name, copy)))


def _lines(scene: Scene, clip: Clip, ground: str, split: Split, name: str, copy: int) -> Iterator[Line]:
    """A caption, what is done, and more questions, each kind in its turn: the weapon first, for few have one."""
    random = Random(f"{VERSION} {name}")
    yield _line(split, name, "caption", wording.caption(scene.unit, scene.action, scene.weapon, ground, random))
    yield _line(split, name, "action", wording.question("action", scene.action, random))
    known = {"who": scene.unit, "race": scene.race, "ground": ground}
    if scene.weapon:
        known["weapon"] = scene.weapon
    if scene.view in SIDEWAYS:
        known["direction"] = "left" if clip.mirrored else "right"
    topics = sorted(known, key=lambda topic: (topic != "weapon", crc32(f"{topic} {scene.key}".encode())))
    for turn in range(QUESTIONS[split]):
        topic = topics[(copy + turn) % len(topics)]
        yield _line(split, name, topic, wording.question(topic, known[topic], random))


def _line(split: Split, name: str, topic: str, asked: wording.Asked) -> Line:
    question, answers = asked
    return {
        "id": f"{split}-{name}-{topic}",
        "task": "caption" if topic == "caption" else "qa",
        "media": f"{split}/{name}.mp4",
        "question": question,
        "answers": list(answers),
        "topic": "deed" if topic == "caption" else topic,
    }
