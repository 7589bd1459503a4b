"""What a checkpoint's weights consist of, and what turns one checkpoint's into another's.

It reads and checks deltas; when they are set, and in which engine, stands in vllm_swap.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modalities.checkpoint import StoreError
from modalities.deltas import LowRank, difference, misfit, read_delta

Shapes = Mapping[str, tuple[int, ...]]  # of the weights that an engine can set


@dataclass(frozen=True)
class Piece:
    """One delta of a checkpoint's list; the same bytes at the same scale are the same piece, wherever they lie."""

    folder: Path = field(compare=False)
    scale: float
    digest: str

    def read(self, fits: Shapes, sign: float = 1.0) -> dict[str, LowRank]:
        """Its products. Raises StoreError when it is damaged, fits no weight or holds what is no number."""
        delta = read_delta(self.folder, sign * self.scale)
        if odd := next((name for name, part in delta.items() if fits.get(name) != part.shape), None):
            raise misfit(self.folder, odd)
        if not all(part.a.isfinite().all() and part.b.isfinite().all() for part in delta.values()):
            raise StoreError(f"{self.folder.name}: its weights are not all finite numbers; restore or retrain it.")
        return delta


Pieces = tuple[Piece, ...]


def change(old: Pieces, new: Pieces, fits: Shapes) -> dict[str, LowRank]:
    """What turns one list's weights into the other's, as one delta. Blocking: it reads and checks every new piece."""
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    read = [piece.read(fits) for piece in new]
    return difference([*(piece.read(fits, -1.0) for piece in old[same:]), *read[same:]])
