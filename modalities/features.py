"""The encoder cache: features by media hash, on disk for training, in memory for serving.

Encoders never change, so a feature is a pure function of the media's bytes, the encoder's weights and the
preprocessing; the key holds all three. It knows no connector and no backbone.
"""

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from modalities.base import BadMedia, Encoder, Modality, Part

BATCH = 16

V = TypeVar("V")


class Recent(Generic[V]):
    """The last so many values, by key; any thread may ask."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._values: OrderedDict[str, V] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> V | None:
        """The value, which is now the last one used; None if it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: str, value: V) -> None:
        """Keep a value, and let go of the one that was not used for longest."""
        with self._lock:
            self._values[key] = value
            while len(self._values) > self.room:
                self._values.popitem(last=False)


class Features:
    """Features (T, F) of media parts. With a `folder` they outlive the process; `room` bounds the memory."""

    def __init__(self, folder: Path | None = None, room: int = 256) -> None:
        self.folder = folder
        self.hits = self.misses = 0  # of `known`
        self._memory: Recent[Tensor] = Recent(room)
        self._lock = Lock()

    def get(self, modality: Modality, encoder: Encoder, part: Part) -> Tensor:
        """Features of one media part, (T, F) in float16. Raises BadMedia."""
        data = part.data()
        key = _key(encoder, data)
        found = self._recall(key)
        return found if found is not None else self._encode(encoder, [(key, modality.read(data))])[0]

    def key(self, encoder: Encoder, part: Part) -> str:
        """What tells a media part's features from all others: the encoder, its preprocessing, the file's bytes."""
        return _key(encoder, part.data())

    def known(self, encoder: Encoder, part: Part) -> bool:
        """Whether a media part has been encoded before; counted as a hit or a miss."""
        found = self._recall(_key(encoder, part.data())) is not None
        with self._lock:
            self.hits += found
            self.misses += not found
        return found

    def encode(self, modality: Modality, encoder: Encoder, parts: Sequence[Part]) -> list[BadMedia | None]:
        """Encode media parts in one pass; one that cannot be used has its error in its place and stops no other."""
        errors: dict[int, BadMedia] = {}
        media: dict[int, tuple[str, Any]] = {}
        for place, part in enumerate(parts):
            data = part.data()
            try:
                media[place] = _key(encoder, data), modality.read(data)
            except BadMedia as error:
                errors[place] = error
        if media:
            self._encode(encoder, list(media.values()))
        return [errors.get(place) for place in range(len(parts))]

    def fill(self, modality: Modality, encoder: Encoder, parts: Iterable[Part]) -> None:
        """Encode what is not on disk yet, in batches, with a progress bar."""
        paths = dict.fromkeys(parts)
        missing = [part for part in paths if not self._path(_key(encoder, part.data())).exists()]
        bar = tqdm(total=len(missing), desc=f"encode {modality.name}", unit="file", disable=not missing)
        with bar:
            for start in range(0, len(missing), BATCH):
                batch = [part.data() for part in missing[start : start + BATCH]]
                self._encode(encoder, [(_key(encoder, data), modality.read(data)) for data in batch])
                bar.update(len(batch))

    @torch.no_grad()
    def _encode(self, encoder: Encoder, batch: list[tuple[str, Any]]) -> list[Tensor]:
        """Features of what `Modality.read` gave, remembered under the keys."""
        encoded = encoder([one for _, one in batch])
        features = [one.half().cpu() for one in encoded]  # (T, F) each
        for (key, _), one in zip(batch, features, strict=True):
            self._memory.put(key, one)
            if self.folder is not None:
                path = self._path(key)
                path.parent.mkdir(parents=True, exist_ok=True)
                aside = path.with_suffix(f".{os.getpid()}")
                save_file({"features": one.contiguous()}, aside)
                aside.rename(path)
        return features

    def _path(self, key: str) -> Path:
        assert self.folder is not None, "Only a cache with a folder has paths."
        identity, digest = key.split("/")
        return self.folder / identity / digest[:2] / f"{digest}.safetensors"

    def _recall(self, key: str) -> Tensor | None:
        if (recent := self._memory.get(key)) is not None:
            return recent
        if self.folder is not None and (path := self._path(key)).exists():
            found = load_file(path)["features"]
            self._memory.put(key, found)
            return found
        return None


def _key(encoder: Encoder, data: bytes) -> str:
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', encoder.identity)}/{hashlib.sha256(data).hexdigest()}"
