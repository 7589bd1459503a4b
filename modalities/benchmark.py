"""Named, versioned benchmarks: datasets of several modalities, the questions over several of them, and their hashes.

A benchmark is a file NAME.json beside this one: its version, its modalities in learning order, and a sha256 of each
dataset, over every sample of both splits and the bytes of every media file. So whoever builds it knows whether what
came out is what others measure on, and which dataset is not. It knows no modality, no model and no score.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modalities.assets import build
from modalities.base import TEXT, Dataset, Modality, Part, UnknownModality, find
from modalities.mixed import choices, mixed

HERE = Path(__file__).parent
SEVERAL = "mixed"  # what the questions over several modalities are called beside the modalities
CHOICES = "test.jsonl"  # their test, as `python -m eval mcub` reads it
DIGEST = "sha256"  # and the hash of them all, with their media, beside it


@dataclass(frozen=True)
class Benchmark:
    """What NAME.json says."""

    name: str
    version: str
    modalities: tuple[str, ...]
    sha256: dict[str, str]  # by dataset


def names() -> list[str]:
    """The benchmarks that there are."""
    return sorted(path.stem for path in HERE.glob("*.json"))


def read(name: str) -> Benchmark:
    """A benchmark by its name. Raises UnknownModality."""
    if name not in names():
        raise UnknownModality(f"There is no benchmark {name!r}; there is: {', '.join(names())}.")
    content = json.loads((HERE / f"{name}.json").read_text("utf-8"))
    return Benchmark(name, content["version"], tuple(content["modalities"]), content["sha256"])


def pin(benchmark: Benchmark, found: dict[str, str]) -> None:
    """Write the hashes that were found into NAME.json."""
    content = {"version": benchmark.version, "modalities": benchmark.modalities, "sha256": found}
    (HERE / f"{benchmark.name}.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def load(store: Path, benchmark: Benchmark) -> dict[str, list[Dataset]]:
    """Its datasets by modality, in learning order, then those over several; fetched and built when missing."""
    known = _known(store, benchmark)
    return {modality.name: list(datasets) for modality, datasets in known} | {SEVERAL: [mixed(known)]}


def digests(datasets: dict[str, list[Dataset]]) -> dict[str, str]:
    """The sha256 of each dataset."""
    files: dict[Path, str] = {}
    return {one.name: _digest(one, files) for several in datasets.values() for one in several}


def differing(benchmark: Benchmark, found: dict[str, str]) -> list[str]:
    """The datasets that are not what the benchmark says they are, and those that are missing or too many."""
    both = benchmark.sha256.keys() | found.keys()
    return sorted(name for name in both if benchmark.sha256.get(name) != found.get(name))


def choice_file(store: Path, benchmark: Benchmark) -> Path:
    """The test questions over several modalities as JSONL, the media named from store/data on; made when missing."""

    def write(folder: Path) -> None:
        known = _known(store, benchmark)
        lines = (json.dumps(line, ensure_ascii=False) for line in _lines(store, known))
        (folder / CHOICES).write_text("".join(f"{line}\n" for line in lines), "utf-8")
        (folder / DIGEST).write_text(_digest(mixed(known), {}), "utf-8")

    return build(store, benchmark.version, write, kind="data") / CHOICES


def choices_differ(store: Path, benchmark: Benchmark) -> bool:
    """Whether that file's questions, or their media, are not what the benchmark says they are."""
    found = choice_file(store, benchmark).with_name(DIGEST).read_text("utf-8")
    return found not in benchmark.sha256.values()


def _lines(store: Path, known: Sequence[tuple[Modality, Sequence[Dataset]]]) -> Iterator[dict[str, Any]]:
    for item in choices(known, "test"):
        media = [{part.modality: Path(str(part.content)).relative_to(store / "data").as_posix()} for part in item.parts]
        rest = {"question": item.question, "options": item.options, "answer": item.letter, "kind": item.kind}
        yield {"id": item.id, "media": media} | rest


def _known(store: Path, benchmark: Benchmark) -> list[tuple[Modality, Sequence[Dataset]]]:
    return [(one, one.datasets(store)) for one in map(find, benchmark.modalities)]


def _digest(dataset: Dataset, files: dict[Path, str]) -> str:
    """Over all that a model is shown and asked, and all that counts as right."""
    total = hashlib.sha256()
    for split, samples in (("train", dataset.train), ("test", dataset.test)):
        for one in samples:
            prompt = [[part.modality, _content(part, files)] for part in one.prompt]
            line = [split, one.id, one.task, prompt, one.answers, one.topic, one.whole]
            total.update(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return total.hexdigest()


def _content(part: Part, files: dict[Path, str]) -> str:
    if part.modality == TEXT:
        return str(part.content)
    if not isinstance(part.content, Path):
        return hashlib.sha256(part.data()).hexdigest()
    if part.content not in files:
        files[part.content] = hashlib.sha256(part.data()).hexdigest()
    return files[part.content]
