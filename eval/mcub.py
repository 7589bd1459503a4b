"""MCUB-4: multiple choice over several media at once (Chen et al., Model Composition for Multimodal LLMs, 2024).

A file is JSONL, a line an item: `{"id", "media", "question", "options": [four texts], "answer": "A" … "D"}`, where
`media` is `{"<modality>": "file", …}` or a list of such objects with one key each, text parts among them: a list keeps
its order and may hold several media of a kind. The benchmark's own files are brought into this form first. An answer
counts by its letter, or by an option's whole text; one that is neither is wrong, and counted apart. It knows no
modality and no threshold.
"""

import asyncio
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eval import EvalError
from eval.bootstrap import level
from eval.figures import interval, seed
from eval.judge import normalise
from eval.predict import predict
from eval.predictions import FOLDER, Prediction, read, save
from eval.report import Frozen
from modalities.base import TEXT, BadMedia, Dataset, Modality, Part, Sample, find
from modalities.checkpoint import Store
from modalities.choices import LETTERS, Choice
from modalities.features import Features
from serving.loading import ENGINES, loader

Text = Annotated[str, Field(min_length=1)]


class Item(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Text
    media: Annotated[dict[str, Text], Field(min_length=1)] | Annotated[list[dict[str, Text]], Field(min_length=1)]
    question: Text
    options: Annotated[tuple[Text, ...], Field(min_length=len(LETTERS), max_length=len(LETTERS))]
    answer: Literal["A", "B", "C", "D"]
    kind: str = ""

    @model_validator(mode="after")
    def _is_plain(self) -> "Item":
        """One thing a part, and four options that differ."""
        if any(len(one) != 1 for one in self.parts):
            raise ValueError("a part of `media` must have one key")
        if len({normalise(one) for one in self.options}) < len(LETTERS):
            raise ValueError("two of its options are the same")
        return self

    @property
    def parts(self) -> list[dict[str, str]]:
        """The media in order, each an object with one key."""
        return [{name: file} for name, file in self.media.items()] if isinstance(self.media, dict) else self.media


class Share(Frozen):
    """How many of some items were answered right, with 95 % certainty above `lower`, and below `upper`."""

    n: int
    accuracy: float
    lower: float
    upper: float


class Outcome(Frozen):
    """How a checkpoint fared."""

    checkpoint: str
    file: str
    n: int
    accuracy: float
    lower: float  # 95 % certainty each
    upper: float
    unreadable: int  # answers that are no option; they count as wrong
    chance: float = 1 / len(LETTERS)
    single: bool = False  # asked with one of the media only, drawn for each item
    media: dict[int, Share]  # by the number of media of the items
    kinds: dict[str, Share]  # by the items' kinds, where they have any
    predictions: str  # the file under predictions/


def read_items(path: Path) -> list[Item]:
    """The items of a file. Raises EvalError that names the line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError):
        raise EvalError(f"There is no UTF-8 file {path.name!r}; give a JSONL file of multiple-choice items.") from None
    items: dict[str, Item] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = Item.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            message = first["msg"].removeprefix("Value error, ")
            raise EvalError(f"{path.name}, line {number}, {where}: {message}") from None
        if item.id in items:
            raise EvalError(f"{path.name}, line {number}: the id {item.id!r} is there twice; give each line its own.")
        items[item.id] = item
    if not items:
        raise EvalError(f"{path.name} has no items; write a line for each.")
    return list(items.values())


def choice(said: str, options: Sequence[str]) -> str | None:
    """The letter that an answer chooses, or None: "B", "(b)", "B. a dog", "The answer is B", "a dog"."""
    text = said.strip()
    whole = [letter for letter, option in zip(LETTERS, options, strict=True) if normalise(option) == normalise(text)]
    if whole:
        return whole[0]
    if found := re.match(rf"\(?([{LETTERS}{LETTERS.lower()}])(?:[).:,]|\s*$)", text):
        return found[1].upper()
    named = set(re.findall(rf"(?:answer|option|choice)(?: is)?:? \(?([{LETTERS}])\b", text, re.IGNORECASE))
    return named.pop().upper() if len(named) == 1 else None


def measure(
    store: Store,
    checkpoint: str,
    file: Path,
    media: Path,
    limit: int | None = None,
    engine: str = "transformers",
    single: bool = False,
) -> Outcome:
    """Ask a checkpoint all items, through the deployment that would serve it. Raises EvalError and StoreError.

    With `single`, each question comes with one of its media only, drawn by the item's id: what is still right then
    needs no two senses. What it says is kept beside it; a second run scores that again and needs no model.
    """
    if engine not in ENGINES:
        raise EvalError(f"No engine {engine!r}; there is: {', '.join(ENGINES)}")
    items = read_items(file)
    if limit is not None and limit < len(items):
        kept = sorted(Random(file.name).sample(range(len(items)), limit))
        items = [items[place] for place in kept]
    known = {found.name: found for found in map(find, store.load(checkpoint).modalities)}
    asked = [_single(item) for item in items] if single else items
    samples = tuple(_sample(file.name, item, media, known) for item in asked)
    path = store.folder(checkpoint) / FOLDER / f"{file.stem}.{_digest(samples, engine)}.jsonl"
    if not path.is_file():
        asyncio.run(_ask(store, checkpoint, Dataset(file.stem, "qa", (), samples), engine, path))
    said = [
        one.model_copy(update={"score": float(choice(one.prediction, item.options) == item.answer)})
        for one, item in zip(read(path), items, strict=True)
    ]
    save(path, said)
    return _outcome(checkpoint, file.name, items, said, path, single)


async def _ask(store: Store, checkpoint: str, dataset: Dataset, engine: str, path: Path) -> None:
    deployment = await loader(engine).load(store, checkpoint)
    deployment.embedder.features = Features(store.features)
    try:
        started = path.with_suffix(".part")
        save(path, await predict(deployment, dataset, started=started))
        started.unlink(missing_ok=True)
    finally:
        await deployment.close()


def _single(item: Item) -> Item:
    """The same with one of its media."""
    media = [part for part in item.parts if TEXT not in part]
    return item.model_copy(update={"media": [Random(item.id).choice(media)]})


def _sample(file: str, item: Item, media: Path, known: dict[str, Modality]) -> Sample:
    """An item as the model is asked it. Raises EvalError."""
    parts = []
    for name, value in (pair for part in item.parts for pair in part.items()):
        if name == TEXT:
            parts.append(Part(TEXT, value))
            continue
        if name not in known:
            raise EvalError(
                f"{file}, {item.id!r}: the checkpoint has not learned {name!r}; it knows {', '.join(known)}."
            )
        path = media / value
        if not path.resolve().is_relative_to(media.resolve()) or not path.is_file():
            raise EvalError(f"{file}, {item.id!r}: the media file {value!r} is not in the media folder; see --media.")
        if path.suffix.lower() not in known[name].suffixes:
            raise EvalError(f"{file}, {item.id!r}: {value!r} is no {name} file.")
        parts.append(Part(name, path))
    return Choice(item.id, tuple(parts), item.question, item.options, LETTERS.index(item.answer)).sample


def _digest(samples: Sequence[Sample], engine: str) -> str:
    """What decides what is said."""
    content = [
        [one.id, [part.content if part.modality == TEXT else _hash(part) for part in one.prompt]] for one in samples
    ]
    return hashlib.sha256(json.dumps([content, engine]).encode()).hexdigest()[:8]


def _hash(part: Part) -> str:
    try:
        return hashlib.sha256(part.data()).hexdigest()
    except OSError:
        raise BadMedia("A media file cannot be read; look at its permissions.") from None


def _outcome(
    checkpoint: str, file: str, items: Sequence[Item], said: Sequence[Prediction], path: Path, single: bool
) -> Outcome:
    scores = [one.score or 0.0 for one in said]
    media: dict[int, list[float]] = defaultdict(list)
    kinds: dict[str, list[float]] = defaultdict(list)
    for item, score in zip(items, scores, strict=True):
        media[sum(TEXT not in part for part in item.parts)].append(score)
        if item.kind:
            kinds[item.kind].append(score)
    return Outcome(
        checkpoint=checkpoint,
        file=file,
        **_share(file, scores).model_dump(),
        unreadable=sum(choice(one.prediction, item.options) is None for one, item in zip(said, items, strict=True)),
        single=single,
        media={number: _share(f"{file} {number}", of) for number, of in sorted(media.items())},
        kinds={kind: _share(f"{file} {kind}", of) for kind, of in sorted(kinds.items())},
        predictions=path.name,
    )


def _share(name: str, scores: Sequence[float]) -> Share:
    share = interval(level(name, scores, seed(name)))
    return Share(n=len(scores), accuracy=share.value, lower=share.lower, upper=share.upper)


def text(made: Outcome) -> str:
    """The same for a reader."""
    parts = [f"{number} media: {one.accuracy:.1%} of {one.n}" for number, one in made.media.items()]
    parts += [f"{kind}: {one.accuracy:.1%} of {one.n}" for kind, one in made.kinds.items()]
    return (
        f"{made.checkpoint}, {made.file}{', one medium of each item only' if made.single else ''}: {made.accuracy:.1%} "
        f"of {made.n} right (95 % sure: above {made.lower:.1%}, below {made.upper:.1%}; guessing: {made.chance:.0%}); "
        f"{made.unreadable} answers are no option\n  {'; '.join(parts)}"
    )
