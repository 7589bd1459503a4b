"""A user's own data: a folder of media files with train.jsonl and test.jsonl, read strictly.

Each line is {"id", "task": "caption"|"qa", "media": "a.ply" or {"image": "a.png", …}, "question", "answers": […]}.
It knows neither training nor scoring.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from modalities.assets import build
from modalities.base import TEXT, Dataset, Modality, Part, Sample, Task, UnknownModality, find
from modalities.checkpoint import Checkpoint, Store, hash_file

DESCRIBE = "Describe this."

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class BadData(ValueError):
    """A user's data that cannot be used. The message names the file, the line and the cure, and holds no path."""


class Line(BaseModel):
    """One line of train.jsonl or test.jsonl."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Text
    task: Task
    media: Text | Annotated[dict[str, Text], Field(min_length=1)]
    question: Text | None = None
    answers: Annotated[list[Text], Field(min_length=1)]
    topic: str = ""


def datasets(store: Store, checkpoint: Checkpoint) -> dict[str, list[Dataset]]:
    """Of each modality that a checkpoint has learned, in learning order, the datasets that it was trained on."""
    kept = checkpoint.recipe.get("data") or {}
    found = [find(name) for name in checkpoint.modalities]
    return {modality.name: of(store, modality, kept.get(modality.name)) for modality in found}


def of(store: Store, modality: Modality, kept: str | None) -> list[Dataset]:
    """A modality's own datasets, or those of a user's folder that was kept in the store."""
    return folder(modality, store.data / kept) if kept else list(modality.datasets(store.root))


def keep(store: Store, modality: Modality, path: Path) -> str:
    """Copy a user's folder into the store, so that later stages can replay it and the gate can test on it.

    Only what the splits name is copied. Returns its name there; the same content gives the same name. Raises BadData.
    """
    samples = [sample for one in folder(modality, path) for sample in (*one.train, *one.test)]
    media = {part.content for sample in samples for part in sample.prompt if isinstance(part.content, Path)}
    files = sorted([path / "train.jsonl", path / "test.jsonl", *media])
    digests = {str(file.relative_to(path)): hash_file(file) for file in files}
    digest = hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:12]

    def copy(target: Path) -> None:
        for name in digests:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path / name, target / name)

    return build(store.root, f"{path.resolve().name}-{digest}", copy, kind="data").name


def folder(modality: Modality, path: Path) -> list[Dataset]:
    """The datasets of a user's folder, one for each task that it has. Raises BadData."""
    if not path.is_dir():
        raise BadData(f"There is no data folder {path.name!r}; give a folder with train.jsonl and test.jsonl.")
    train, test = _split(modality, path, "train"), _split(modality, path, "test")
    _apart(train, test)
    out = []
    tasks: tuple[Task, ...] = ("caption", "qa")
    for task in tasks:
        halves = [tuple(sample for sample in split if sample.task == task) for split in (train, test)]
        if any(halves):
            for name, half in zip(("train.jsonl", "test.jsonl"), halves, strict=True):
                if not half:
                    raise BadData(f"{name} has no {task!r} line, the other split has; add some, or drop the task.")
            out.append(Dataset(f"{path.resolve().name}-{task}", task, *halves))
    return out


def _split(modality: Modality, root: Path, split: str) -> list[Sample]:
    file = root / f"{split}.jsonl"
    if not file.is_file():
        raise BadData(f"There is no {file.name} in the data folder; add one, a line for each {split} item.")
    samples: dict[str, Sample] = {}
    for where, line in _lines(file):
        if line.id in samples:
            raise BadData(f"{where}: the id {line.id!r} is there twice; give each line its own.")
        if line.task == "qa" and line.question is None:
            raise BadData(f"{where}: a 'qa' line needs a question; add \"question\".")
        media = {modality.name: line.media} if isinstance(line.media, str) else line.media
        parts = [_part(modality, name, file, root, where) for name, file in media.items()]
        if not any(part.modality == modality.name for part in parts):
            raise BadData(f"{where}: there is no {modality.name!r} among its media; this folder is to teach it.")
        prompt = (*parts, Part(TEXT, line.question or DESCRIBE))
        samples[line.id] = Sample(line.id, line.task, prompt, tuple(line.answers), line.topic)
    if not samples:
        raise BadData(f"{file.name} is empty; add a line for each {split} item.")
    return list(samples.values())


def _lines(file: Path) -> Iterator[tuple[str, Line]]:
    """Each line that is not blank, and where it stands."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadData(f"{file.name} is not UTF-8 text; save it as UTF-8.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        where = f"{file.name}, line {number}"
        if line.strip():
            try:
                yield where, Line.model_validate_json(line)
            except ValidationError as error:
                raise BadData(f"{where}: {_why(error)}") from None


def _why(error: ValidationError) -> str:
    """The first complaint, in one line with its cure."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "json_invalid":
        return "this is not JSON; write one object on one line."
    if first["type"] == "extra_forbidden":
        return f"unknown key {name!r}; known: {', '.join(Line.model_fields)}"
    if first["type"] == "missing":
        return f'the key {name!r} is missing; add "{name}".'
    if not name:
        return "this is no object; write {…} with id, task, media, question and answers."
    cures = {
        "task": "write 'caption' or 'qa'",
        "media": 'name a file, as "a.png" or {"image": "a.png"}',
        "answers": "give a list of at least one accepted answer, each a text",
    }
    return f"{name!r} cannot be used; {cures.get(name, 'write a text that is not empty')}."


def _part(taught: Modality, name: str, file: str, root: Path, where: str) -> Part:
    """A media part: known modality, its kind of file, inside the folder, and there."""
    try:
        modality = taught if name == taught.name else find(name)
    except UnknownModality as error:
        raise BadData(f"{where}: {error}") from None
    path = root / file
    if not path.resolve().is_relative_to(root.resolve()):
        raise BadData(f"{where}: the media {file!r} lies outside the data folder; copy it into the folder.")
    if path.suffix.lower() not in modality.suffixes:
        raise BadData(f"{where}: {file!r} is no {modality.name} file; it takes {', '.join(modality.suffixes)}.")
    if not path.is_file():
        raise BadData(f"{where}: the media file {file!r} is missing; put it into the folder or remove the line.")
    if path.stat().st_size > modality.max_bytes:
        raise BadData(f"{where}: {file!r} is larger than the {modality.max_bytes:,} bytes that {modality.name} takes.")
    return Part(modality.name, path)


def _apart(train: list[Sample], test: list[Sample]) -> None:
    """Nothing of the test may be in the training."""
    known = {sample.id for sample in train}
    asked = {sample.prompt for sample in train}
    for sample in test:
        if sample.id in known:
            raise BadData(f"test.jsonl: the id {sample.id!r} is in train.jsonl too; a test item must be new.")
        if sample.prompt in asked:
            raise BadData(f"test.jsonl: {sample.id!r} asks what train.jsonl asks of the same file; use other files.")
