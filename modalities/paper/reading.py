"""Reading published datasets: text, JSON and CSV with one-line errors, media that may be missing, seeded subsets.

It knows no dataset.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from modalities.assets import AssetError
from modalities.base import TEXT, Part, Sample, Task

SEED = 0
TEST = 1000  # items of each test (paper, Table 8)
CELL = 1_000_000  # characters that a CSV's cell may have
AGAIN = "fetch it again from where it is published"
BRIEFLY = "\nAnswer the question using a single word or phrase."  # LLaVA-1.5's way to ask for a short answer

T = TypeVar("T")
S = TypeVar("S", bound=Sized)


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


def text(folder: Path, name: str, otherwise: str | None = None) -> str:
    """A file's text: UTF-8, or `otherwise` where it is not that. Raises AssetError."""
    path = the(folder, name)
    try:
        data = path.read_bytes()
    except OSError:
        raise AssetError(f"{name} is no file that can be read; put it there, as it is published.") from None
    for encoding in filter(None, ("utf-8-sig", otherwise)):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssetError(f"{name} is not UTF-8 text; {AGAIN}.")


def from_json(folder: Path, name: str, key: str | None = None) -> list[dict[str, Any]]:
    """The list in a JSON file, or under one of its keys. Raises AssetError."""
    try:
        content = json.loads(text(folder, name))
        rows = content[key] if key else content
    except (ValueError, KeyError, TypeError):
        rows = None
    return listed(rows, f"{name} has no list of entries {f'under {key!r}' if key else 'in it'}")


def listed(rows: object, complaint: str) -> list[dict[str, Any]]:
    """These, if they are a list of objects. Raises AssetError."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise AssetError(f"{complaint}; {AGAIN}.")
    return rows


def from_csv(
    folder: Path, name: str, columns: Sequence[str], header: bool = True, otherwise: str | None = None
) -> list[dict[str, str]]:
    """The rows of a CSV file, without blanks around their cells. Raises AssetError that names a missing column."""
    lines = io.StringIO(text(folder, name, otherwise), newline="")
    before = csv.field_size_limit(CELL)
    try:
        reader = csv.DictReader(lines, None if header else columns)
        absent = [column for column in columns if column not in (reader.fieldnames or ())]
        if absent:
            raise AssetError(f"{name} has no column {absent[0]!r}; {AGAIN}.")
        rows = [{column: (row[column] or "").strip() for column in columns} for row in reader]
    except csv.Error:
        raise AssetError(f"{name} is no CSV file, or a cell of it has no end; {AGAIN}.") from None
    finally:
        csv.field_size_limit(before)
    return some(rows, f"{name} has no rows; {AGAIN}.")


def number(value: object, key: str, name: str) -> int:
    """A whole number, which may be written as text or with a point. Raises AssetError that names its field."""
    try:
        return int(float(str(value)))
    except (ValueError, OverflowError):
        raise AssetError(f"{name} has a {key} that is no number: {str(value)[:40]!r}; {AGAIN}.") from None


def some(items: S, complaint: str) -> S:
    """These, if there are any. Raises AssetError."""
    if not items:
        raise AssetError(complaint)
    return items


def field(row: dict[str, Any], key: str, name: str) -> Any:
    """A field of an entry. Raises AssetError that names it."""
    if key not in row:
        raise AssetError(f"An entry of {name} has no {key!r}; {AGAIN}.")
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
