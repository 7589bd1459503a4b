"""Reading published datasets: JSON and CSV with one-line errors, media that may be missing, seeded subsets.

It knows no dataset.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from modalities.assets import AssetError
from modalities.base import TEXT, Part, Sample, Task

SEED = 0
TEST = 1000  # items of each test (paper, Table 8)
BRIEFLY = "\nAnswer the question using a single word or phrase."  # LLaVA-1.5's way to ask for a short answer

T = TypeVar("T")


def root(store: Path, name: str, what: str) -> Path:
    """store/data/<name>, which the user fills or links. `what` says what belongs there. Raises AssetError."""
    folder = store / "data" / name
    if not folder.is_dir():
        raise AssetError(f"There is no data/{name} in the store; put (or link) {what} there, as it is published.")
    return folder


def the(folder: Path, *names: str) -> Path:
    """The first of these names that is in the folder. Raises AssetError, which says what was looked for."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise AssetError(f"data/{folder.name} has no {' and no '.join(names)}; put it there, as it is published.")


def from_json(folder: Path, name: str, key: str | None = None) -> list[dict[str, Any]]:
    """The list in a JSON file, or under one of its keys. Raises AssetError."""
    path = the(folder, name)
    try:
        content = json.loads(path.read_text("utf-8"))
        rows = content[key] if key else content
    except (ValueError, KeyError, TypeError):
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        inside = f"under {key!r}" if key else "in it"
        raise AssetError(f"{name} has no list of entries {inside}; fetch it again from where it is published.")
    return rows


def from_csv(folder: Path, name: str, columns: Sequence[str], header: bool = True) -> list[dict[str, str]]:
    """The rows of a CSV file, without blanks around their cells. Raises AssetError that names a missing column."""
    path = the(folder, name)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, None if header else columns)
            absent = [column for column in columns if column not in (reader.fieldnames or ())]
            if absent:
                raise AssetError(f"{name} has no column {absent[0]!r}; fetch it again from where it is published.")
            return [{column: (row[column] or "").strip() for column in columns} for row in reader]
    except UnicodeDecodeError:
        raise AssetError(f"{name} is not UTF-8 text; fetch it again from where it is published.") from None


def field(row: dict[str, Any], key: str, name: str) -> Any:
    """A field of an entry. Raises AssetError that names it."""
    if key not in row:
        raise AssetError(f"An entry of {name} has no {key!r}; fetch it again from where it is published.")
    return row[key]


def present(media: Iterable[Path], folder: Path) -> None:
    """All these files are there, or AssetError names the first that is not."""
    missing = [path for path in dict.fromkeys(media) if not path.is_file()]
    if missing:
        first, more = missing[0].relative_to(folder), f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise AssetError(f"data/{folder.name} has no {first}{more}; unpack its archive there.")


def subset(items: Sequence[T], count: int, seed: int = SEED) -> list[T]:
    """`count` items drawn by seed, in their own order; all where there are fewer."""
    chosen = sorted(Random(seed).sample(range(len(items)), min(count, len(items))))
    return [items[index] for index in chosen]


def sample(id: str, task: Task, modality: str, media: Path, text: str, answers: Iterable[str]) -> Sample:
    """A question or a captioning prompt about one file; repeated answers count once."""
    prompt = (Part(modality, media), Part(TEXT, text if task == "caption" else text + BRIEFLY))
    return Sample(id, task, prompt, tuple(dict.fromkeys(answers)))
