"""The datasets of General MIDI phrases: captions and questions about sounds that are rendered where they are needed.

The fonts' recordings are real, the phrases are drawn by seed. `gm-…` trains on three fonts of two families and is
tested on melodies that training never hears; `gm-font-…` is tested on such melodies played by a font of a third family.
The same packages give the same bytes. It knows neither encoder nor LLM.
"""

import io
import json
import wave
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from tqdm import tqdm

from modalities.assets import build
from modalities.audio import wording
from modalities.audio.fonts import RATE, TEST, TRAIN, Font, Pcm, play
from modalities.audio.instruments import Event, Instrument, events, instruments
from modalities.audio.phrases import Phrase, compose, linger
from modalities.base import TEXT, Dataset, Part, Sample, Task

VERSION = "gm-1"  # change it whenever another sound or another word comes out
SOUNDS = "gm-1"  # seeds what is heard; as long as it stays, sounds stay as they were, and so do their features

Split = Literal["train", "melody", "font"]
Line = dict[str, Any]  # of <split>.jsonl

EACH: dict[Split, int] = {"train": 62, "melody": 5, "font": 5}  # sounds of each instrument and event
ASKED: dict[Split, int] = {"train": 500, "melody": 60, "font": 60}  # questions of each topic besides the instrument
TOPICS = ("register", "direction", "speed", "family", "count")


@dataclass(frozen=True, slots=True)
class Item:
    """One sound: which font's program plays which phrase."""

    split: Split
    name: str
    font: Font
    program: int
    phrase: Phrase
    source: Instrument | Event


def datasets(store: Path) -> Sequence[Dataset]:
    """All four; fetched and rendered when missing."""
    folder = build(store, VERSION, lambda aside: make(store, aside), kind="data")
    train, melody, font = (_read(folder, split) for split in EACH)

    def of(samples: Sequence[Sample], task: Task) -> tuple[Sample, ...]:
        return tuple(sample for sample in samples if sample.task == task)

    tasks: tuple[Task, Task] = ("caption", "qa")
    return [
        *(Dataset(f"gm-{task}", task, of(train, task), of(melody, task)) for task in tasks),
        *(Dataset(f"gm-font-{task}", task, (), of(font, task)) for task in tasks),
    ]


def make(store: Path, folder: Path) -> None:
    """Write the sounds and the samples of all splits into an empty folder."""
    for split in EACH:
        chosen = items(split)
        (folder / split).mkdir()
        for item in tqdm(chosen, desc=f"rendering, {split}", unit="sound"):
            sound = wav(play(store, item.font, item.program, item.phrase))
            (folder / split / f"{item.name}.wav").write_bytes(sound)
        lines = (json.dumps(line, ensure_ascii=False) for line in samples(chosen))
        (folder / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")


def items(split: Split) -> list[Item]:
    """The sounds of a split: as many of each instrument as of any other, its fonts and programs by turns."""
    fonts = (TEST,) if split == "font" else TRAIN
    sources: list[Instrument | Event] = [*instruments(), *events()]
    return [_item(split, source, place, fonts) for source in sources for place in range(EACH[split])]


def _item(split: Split, source: Instrument | Event, place: int, fonts: Sequence[Font]) -> Item:
    name = f"{'-'.join(source.name.lower().split())}-{place:02d}"
    random = Random(f"{SOUNDS} {split} {name}")
    kept = split != "train"
    if isinstance(source, Event):
        program, phrase = source.program, linger(random, held_out=kept)
    else:
        program = source.programs[place // len(fonts) % len(source.programs)]
        phrase = compose(random, source.registers, held_out=kept)
    return Item(split, name, fonts[place % len(fonts)], program, phrase, source)


def samples(chosen: Sequence[Item]) -> list[Line]:
    """A caption and the question for the source of each sound, and one question more for many."""
    lines: list[Line] = []
    more = _more(chosen)
    for item in chosen:
        random = Random(f"{VERSION} {item.split} {item.name}")
        if isinstance(item.source, Event):
            lines.append(_line(item, "caption", "scene", *wording.scene(item.source, random)))
            lines.append(_line(item, "qa", "event", *wording.source(item.source, random)))
            continue
        said = wording.caption(item.source, item.program, item.phrase, random)
        lines.append(_line(item, "caption", "phrase", *said))
        for topic in filter(None, ("instrument", more.get(item.name))):
            answers = wording.answers(topic, item.source, item.phrase)
            lines.append(_line(item, "qa", topic, wording.question(topic, item.source, random), answers))
    return lines


def _more(chosen: Sequence[Item]) -> dict[str, str]:
    """Which sound is asked which question besides: of each topic the same number, each answer as often as any other."""
    topics: dict[str, str] = {}
    for topic in TOPICS:
        heaps: dict[str, list[Item]] = defaultdict(list)
        for item in Random(f"{VERSION} {topic}").sample(chosen, len(chosen)):
            if item.name not in topics and isinstance(item.source, Instrument):
                for answer in wording.answers(topic, item.source, item.phrase)[:1]:
                    heaps[answer].append(item)
        turns = min(ASKED[chosen[0].split] // len(heaps), *(len(heap) for heap in heaps.values()))
        for heap in heaps.values():
            topics |= {item.name: topic for item in heap[:turns]}
    return topics


def wav(pcm: Pcm) -> bytes:
    """A sound as the bytes of a WAV file with 16 bits."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((1, 2, RATE, len(pcm), "NONE", "not compressed"))
        file.writeframes(pcm.astype("<i2").tobytes())
    return stream.getvalue()


def _line(item: Item, task: Task, topic: str, question: str, answers: Sequence[str]) -> Line:
    return {
        "id": f"{item.split}-{item.name}-{topic}",
        "task": task,
        "media": f"{item.split}/{item.name}.wav",
        "question": question,
        "answers": list(answers),
        "topic": topic,
    }


def _read(folder: Path, split: Split) -> list[Sample]:
    """The samples of a split, as they stand in its file."""
    lines = (json.loads(line) for line in (folder / f"{split}.jsonl").read_text("utf-8").splitlines())
    return [
        Sample(
            line["id"],
            line["task"],
            (Part("audio", folder / line["media"]), Part(TEXT, line["question"])),
            tuple(line["answers"]),
            line["topic"],
        )
        for line in lines
    ]
