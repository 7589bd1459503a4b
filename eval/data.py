"""What datasets hold: samples by split and topic, how one-sided questions and answers are, and samples to look at.

It knows no modality and no model.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random

from eval.report import Frozen
from modalities.base import TEXT, Dataset, Sample, find
from modalities.benchmark import differing, digests, load, names, pin, read

TEMPLATE_WORDS = 3  # a question's first words say after which pattern it is made


class Topic(Frozen):
    """The samples of one kind of question, or of one kind of caption."""

    topic: str
    train: int
    test: int
    answers: int  # that differ, among the first ones
    majority: float  # share of the commonest answer: of the test, or of training where there is no test
    commonest: str
    templates: int  # ways to begin the question
    template: float  # share of the commonest one


class Shown(Frozen):
    """A sample to look at."""

    id: str
    split: str
    media: tuple[str, ...]  # file names
    question: str
    answer: str


class Statistics(Frozen):
    """What one dataset holds."""

    dataset: str
    modality: str
    task: str
    train: int
    test: int
    media: tuple[int, int]  # files in training, in the test
    topics: tuple[Topic, ...]
    samples: tuple[Shown, ...]


class Contents(Frozen):
    """Of a benchmark, or of a modality, which has no version."""

    name: str
    version: str | None = None
    differs: tuple[str, ...] = ()  # datasets that are not what the benchmark's file says
    sha256: dict[str, str] = {}
    datasets: tuple[Statistics, ...]


def contents(store: Path, name: str, samples: int = 0, seed: int = 0, pinning: bool = False) -> Contents:
    """A benchmark's datasets, or a modality's; fetched and built when missing. Raises UnknownModality, AssetError.

    With `pinning`, a benchmark's hashes are written into the tree as they are found.
    """
    if name not in names():
        found = find(name)
        return Contents(name=name, datasets=_all({found.name: list(found.datasets(store))}, samples, seed))
    benchmark = read(name)
    grouped = load(store, benchmark)
    hashes = digests(grouped)
    if pinning:
        pin(benchmark, hashes)
    differs = tuple(differing(read(name), hashes))
    datasets = _all(grouped, samples, seed)
    return Contents(name=name, version=benchmark.version, differs=differs, sha256=hashes, datasets=datasets)


def _all(grouped: dict[str, list[Dataset]], samples: int, seed: int) -> tuple[Statistics, ...]:
    return tuple(statistics(modality, one, samples, seed) for modality, of in grouped.items() for one in of)


def statistics(modality: str, dataset: Dataset, samples: int = 0, seed: int = 0) -> Statistics:
    """A dataset's figures, and some of its samples, drawn by seed."""
    topics: dict[str, tuple[list[Sample], list[Sample]]] = defaultdict(lambda: ([], []))
    for place, split in enumerate((dataset.train, dataset.test)):
        for sample in split:
            topics[sample.topic][place].append(sample)
    both = [("train", one) for one in dataset.train] + [("test", one) for one in dataset.test]
    drawn = Random(f"{dataset.name} {seed}").sample(both, min(samples, len(both)))
    return Statistics(
        dataset=dataset.name,
        modality=modality,
        task=dataset.task,
        train=len(dataset.train),
        test=len(dataset.test),
        media=(_files(dataset.train), _files(dataset.test)),
        topics=tuple(_topic(name, *of) for name, of in sorted(topics.items())),
        samples=tuple(_shown(split, sample) for split, sample in drawn),
    )


def problem(made: Contents) -> str:
    """One line about what differs."""
    return (
        f"{made.version}: not what others measure on: {', '.join(made.differs)}. The packages' versions are pinned, so "
        "look for a library of another version than in requirements.lock, or for what could not be fetched."
    )


def text(made: Contents) -> str:
    """The same for a reader."""
    lines = [made.name if made.version is None else f"{made.name} ({made.version})"]
    for one in made.datasets:
        lines += ["", f"{one.dataset} ({one.modality}, {one.task}): {one.train:,} train, {one.test:,} test samples"]
        lines.append(f"  about {one.media[0]:,} files in training, {one.media[1]:,} in the test")
        lines += [
            f"  {topic.topic or '-':16} {topic.train:6,} {topic.test:6,}  {topic.answers:5,} answers, at most "
            f"{topic.majority:4.0%} ({topic.commonest[:40]!r}); {topic.templates} ways to ask, at most "
            f"{topic.template:.0%}"
            for topic in one.topics
        ]
        lines += [
            f"    {sample.split} {', '.join(sample.media)}: {sample.question!r} -> {sample.answer!r}"
            for sample in one.samples
        ]
    return "\n".join(lines)


def _topic(name: str, train: Sequence[Sample], test: Sequence[Sample]) -> Topic:
    told = Counter(sample.answers[0] for sample in test or train)
    asked = Counter(" ".join(_question(sample).split()[:TEMPLATE_WORDS]) for sample in (*train, *test))
    (commonest, most), (_, often) = told.most_common(1)[0], asked.most_common(1)[0]
    return Topic(
        topic=name,
        train=len(train),
        test=len(test),
        answers=len({sample.answers[0] for sample in (*train, *test)}),
        majority=most / told.total(),
        commonest=commonest,
        templates=len(asked),
        template=often / asked.total(),
    )


def _shown(split: str, sample: Sample) -> Shown:
    media = tuple(Path(str(part.content)).name for part in sample.prompt if isinstance(part.content, Path))
    return Shown(id=sample.id, split=split, media=media, question=_question(sample), answer=sample.answers[0])


def _question(sample: Sample) -> str:
    return "".join(str(part.content) for part in sample.prompt if part.modality == TEXT)


def _files(samples: Sequence[Sample]) -> int:
    return len({part for sample in samples for part in sample.prompt if part.modality != TEXT})
