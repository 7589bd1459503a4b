"""Predictions as JSONL, a line an item, so that scoring can be run again without the model.

A file's name holds a digest of everything that decides its content; what is there is therefore valid, and a run that
was stopped goes on with the first dataset that is not. It does not know how predictions are made.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean
from urllib.parse import quote

from pydantic import FiniteFloat

from eval.judge import Asked, Judge
from eval.report import Frozen, Topic
from eval.score import Unscored, cider
from modalities.base import TEXT, Dataset, Part, Sample, Task
from modalities.checkpoint import write

FOLDER = "predictions"


class Prediction(Frozen):
    """What was said about one test item, and its score once there is one."""

    id: str
    topic: str
    question: str
    prediction: str
    references: tuple[str, ...]
    score: FiniteFloat | None = None
    unscored: str | None = None  # why it has no score


@dataclass(frozen=True)
class Measured:
    """What was said about one dataset, scored."""

    task: Task
    predictions: Sequence[Prediction]

    @property
    def score(self) -> float:
        """The dataset's score."""
        return mean(self.predictions)

    @property
    def unscored(self) -> dict[str, int]:
        """How many items have no score, by reason."""
        return dict(Counter(one.unscored for one in self.predictions if one.unscored is not None))


def subset(dataset: Dataset, limit: int | None, seed: int) -> Dataset:
    """A dataset with at most `limit` of its test items, the same ones for the same seed, in their order."""
    if limit is None or limit >= len(dataset.test):
        return dataset
    kept = sorted(Random(f"{seed} {dataset.name}").sample(range(len(dataset.test)), limit))
    return replace(dataset, test=tuple(dataset.test[index] for index in kept))


def question(sample: Sample) -> str:
    """The text of a prompt."""
    return " ".join(str(part.content) for part in sample.prompt if part.modality == TEXT)


def asked(sample: Sample, blind: bool) -> tuple[Part, ...]:
    """A sample's prompt, without its media when the model is to answer blind."""
    return tuple(part for part in sample.prompt if part.modality == TEXT or not blind)


def file_name(dataset: Dataset, blind: bool, **how: str | int) -> str:
    """The file of a dataset's predictions: its items, their media and how they were asked are in the digest."""
    media: dict[Part, str] = {}
    for part in (part for sample in dataset.test for part in asked(sample, blind) if part.modality != TEXT):
        if part not in media:
            media[part] = hashlib.sha256(part.data()).hexdigest()
    items = [
        [sample.id, sample.topic, question(sample), sample.answers, [media.get(part) for part in sample.prompt]]
        for sample in dataset.test
    ]
    digest = hashlib.sha256(json.dumps([items, blind, sorted(how.items())]).encode()).hexdigest()[:8]
    return f"{quote(dataset.name, safe=' ')}{'.blind' if blind else ''}.{digest}.jsonl"


def save(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions, whole or not at all."""
    write(path, "".join(one.model_dump_json(exclude_none=True) + "\n" for one in predictions).encode())


def read(path: Path) -> list[Prediction]:
    """Read predictions."""
    return [Prediction.model_validate_json(line) for line in path.read_bytes().splitlines()]


def score(task: Task, predictions: Sequence[Prediction], judge: Judge) -> list[Prediction]:
    """The same predictions with their scores. Raises Unscored when there is none."""
    if not predictions:
        raise Unscored("it has no test items; add some")
    if task == "caption":
        return rescored(task, predictions)
    marks = judge.marks([Asked(one.question, one.references, one.prediction) for one in predictions])
    scored = [
        one.model_copy(update={"score": mark.score, "unscored": mark.unscored})
        for one, mark in zip(predictions, marks, strict=True)
    ]
    if all(one.score is None for one in scored):
        raise Unscored(f"{judge.name} scored none of its answers ({scored[0].unscored}); run it again")
    return scored


def rescored(task: Task, predictions: Sequence[Prediction]) -> list[Prediction]:
    """What was scored before, as part of this set: a caption's score depends on the captions around it."""
    if task != "caption":
        return list(predictions)
    scores = cider([one.prediction for one in predictions], [one.references for one in predictions])
    return [one.model_copy(update={"score": value}) for one, value in zip(predictions, scores, strict=True)]


def mean(predictions: Sequence[Prediction]) -> float:
    """The mean score of those that have one; 0 where none has."""
    scores = [one.score for one in predictions if one.score is not None]
    return fmean(scores) if scores else 0.0


def topics(seen: Sequence[Prediction], blind: Sequence[Prediction] = ()) -> dict[str, Topic]:
    """Accuracy by kind of question, in order of first appearance."""
    groups, without = _by_topic(seen), _by_topic(blind)
    return {
        name: Topic(accuracy=mean(group), n=len(group), blind=mean(without[name]) if name in without else None)
        for name, group in groups.items()
    }


def _by_topic(predictions: Sequence[Prediction]) -> dict[str, list[Prediction]]:
    groups: dict[str, list[Prediction]] = {}
    for one in predictions:
        groups.setdefault(one.topic or "other", []).append(one)
    return groups


def digest(predictions: Sequence[Prediction]) -> str:
    """The identity of a set of test items: two scores may be compared when it is equal."""
    items = [[one.id, one.question, one.references] for one in predictions]
    return hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16]
