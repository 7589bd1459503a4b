"""Which pictures there are and what is said about each, decided before anything is drawn.

A split is a function of its name and of which drawings exist, so it comes out the same each time. The test has
an art style that training never sees, and scenes of pairs that no training scene combines.
It knows no file.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal
from zlib import crc32

from modalities.image import wording
from modalities.image.concepts import Concept, concepts
from modalities.image.pictures import SIDE, Picture, Placed

VERSION = "emoji-4"  # change it whenever another picture or another word comes out
PICTURES = "emoji-3"  # seeds what is shown; as long as it stays, pictures stay as they were, and so do their features
TRAIN_STYLES = ("noto", "openmoji", "fluent-flat", "fluent-3d", "noto-v1", "emojione")
TEST_STYLE = "twemoji"
TEST_SINGLES, TRAIN_SCENES, TEST_SCENES = 400, 1200, 120
WHITE = (255, 255, 255)
TINTS = ((253, 240, 230), (232, 243, 252), (236, 248, 233), (250, 235, 243), (255, 250, 222), (240, 238, 250))
SCENIC = {
    *("animal", "food or drink", "transport", "sport or leisure"),
    *("clothes or accessories", "household or tools", "technology"),
}
GROUP_SHARE = 0.4  # of the singles' second questions; the others ask for identity

Split = Literal["train", "test"]
Has = Callable[[str, str], bool]  # style, label -> whether there is such a drawing
Line = dict[str, Any]  # of train.jsonl and test.jsonl


@dataclass(frozen=True)
class Item:
    """A picture to draw and the lines about it."""

    name: str
    picture: Picture
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Single:
    """One drawing of a concept."""

    concept: Concept
    style: str
    label: str

    @property
    def name(self) -> str:
        return f"{self.style}-{'-'.join(''.join(c if c.isalnum() else ' ' for c in self.label.lower()).split())}"


def plan(has: Has, split: Split) -> list[Item]:
    """All pictures of a split and what is said about them."""
    random = Random(f"{PICTURES} {split}")
    styles = TRAIN_STYLES if split == "train" else (TEST_STYLE,)
    known = [concept for concept in concepts() if covered(concept, has)]
    singles = [
        Single(concept, style, label)
        for concept in known
        for style in styles
        for label in concept.labels
        if has(style, label)
    ]
    if split == "test":
        singles = spread(singles, TEST_SINGLES, lambda single: single.concept.kind, random)
    scenes = TRAIN_SCENES if split == "train" else TEST_SCENES
    return [*_singles(singles, split, known, random), *_scenes(known, has, styles, scenes, split, random)]


def covered(concept: Concept, has: Has) -> bool:
    """In the held-out style and in most of the others."""
    label = concept.labels[0]
    return has(TEST_STYLE, label) and sum(has(style, label) for style in TRAIN_STYLES) >= 3


def held_out(one: Concept, other: Concept) -> bool:
    """Whether the two are combined in test scenes only (a tenth of all pairs)."""
    return crc32("|".join(sorted((one.noun, other.noun))).encode()) % 10 == 0


def spread(things: Sequence[Single], number: int, key: Callable[[Single], str], random: Random) -> list[Single]:
    """`number` of the things, as equally many of each key as there are."""
    heaps: dict[str, list[Single]] = defaultdict(list)
    for thing in random.sample(things, len(things)):
        heaps[key(thing)].append(thing)
    chosen: list[Single] = []
    while len(chosen) < number and any(heaps.values()):
        chosen += [heap.pop() for heap in heaps.values() if heap]
    return chosen[:number]


def _singles(singles: Sequence[Single], split: Split, known: Sequence[Concept], random: Random) -> list[Item]:
    """Pictures of one thing: a caption, the class question and one more question each."""
    grouped = set(spread(singles, round(GROUP_SHARE * len(singles)), lambda single: single.concept.group, random))
    truths = dict(zip((single for single in singles if single not in grouped), _alternating(random), strict=False))
    items = []
    for single in singles:
        concept = single.concept
        picture = Picture(single.style, _background(random), (_alone(single.label, random),))
        lines = [
            _line(split, single.name, "caption", "name", *wording.caption(concept, random)),
            _line(split, single.name, "qa", "class", *wording.kind(concept, random)),
        ]
        if single in grouped:
            lines.append(_line(split, single.name, "qa", "group", *wording.group(concept, random)))
        else:
            asked = concept if truths[single] else _other(concept, known, random)
            lines.append(_line(split, single.name, "qa", "identity", *wording.identity(concept, asked, random)))
        items.append(Item(single.name, picture, tuple(lines)))
    return items


def _other(concept: Concept, known: Sequence[Concept], random: Random) -> Concept:
    """What it is certainly not; every second time something of its own kind."""
    others = [other for other in known if not concept.confusable(other)]
    kin = [other for other in others if other.kind == concept.kind]
    return random.choice(kin if kin and random.random() < 0.5 else others)


def _scenes(
    known: Sequence[Concept], has: Has, styles: Sequence[str], number: int, split: Split, random: Random
) -> list[Item]:
    """Pictures of one to three of a thing beside, above or below another: a caption and a question each."""
    able = [one for one in known if one.group in SCENIC and one.countable]
    items: list[Item] = []
    while len(items) < number:
        style = styles[len(items) % len(styles)]
        one, other = random.sample(able, 2)
        drawn = has(style, one.labels[0]) and has(style, other.labels[0])
        if not drawn or one.confusable(other) or held_out(one, other) != (split == "test"):
            continue
        turn = len(items) // len(styles)  # counts, places and how many of a thing come by turns, in every style
        count, relation = 1 + turn // 2 % 3, random.choice(list(wording.INVERSE))
        name = f"{style}-scene-{len(items):04d}"
        picture = Picture(style, _background(random), _arranged(one, count, relation, other, random))
        lines = [_line(split, name, "caption", "scene", *wording.scene(one, count, relation, other, random))]
        if turn % 2 == 0:
            lines.append(_line(split, name, "qa", "count", *wording.count(one, count, random)))
        elif turn % 4 == 1:
            answer = wording.position(one, count, relation, other, 1, random)
            lines.append(_line(split, name, "qa", "position", *answer))
        else:
            answer = wording.position(other, 1, wording.INVERSE[relation], one, count, random)
            lines.append(_line(split, name, "qa", "position", *answer))
        items.append(Item(name, picture, tuple(lines)))
    return items


def _arranged(one: Concept, count: int, relation: str, other: Concept, random: Random) -> tuple[Placed, ...]:
    """`count` of one thing in a row along the middle of its half, the other thing in the other half."""

    def place(concept: Concept, along: float, across: float, size: int) -> Placed:
        spot = (along, across) if relation in ("above", "below") else (across, along)
        x, y = (round(SIDE * share) + random.randint(-4, 4) for share in spot)
        return Placed(concept.labels[0], x, y, size)

    near, far = (0.25, 0.75) if relation in ("above", "to the left of") else (0.75, 0.25)
    row = [place(one, (index + 0.5) / count, near, 76 if count == 3 else 108) for index in range(count)]
    return (*row, place(other, 0.5, far, 108))


def _alone(label: str, random: Random) -> Placed:
    return Placed(label, SIDE // 2 + random.randint(-8, 8), SIDE // 2 + random.randint(-8, 8), random.randint(190, 240))


def _background(random: Random) -> tuple[int, int, int]:
    return WHITE if random.random() < 0.5 else random.choice(TINTS)


def _alternating(random: Random) -> Any:
    first = random.random() < 0.5
    while True:
        yield first
        first = not first


def _line(split: Split, name: str, task: str, topic: str, question: str, answers: tuple[str, ...]) -> Line:
    return {
        "id": f"{split}-{name}-{topic}",
        "task": task,
        "media": f"{split}/{name}.png",
        "question": question,
        "answers": list(answers),
        "topic": topic,
    }
