"""The types the data flows through: Part, Sample, Dataset, Encoder, Modality.

A modality is a frozen record of callables. This file knows no modality, no model and no server.

Shapes: B = batch, T = tokens of one media file, F = encoder width, D = backbone width.
"""

import importlib
import importlib.util
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

TEXT = "text"
Task = Literal["caption", "qa"]


class BadMedia(ValueError):
    """A media file that cannot be used. The message names the cure and holds no path."""


class UnknownModality(ValueError):
    """A name under which no modality can be imported. The message names the cure."""


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a prompt: text, or one media file as bytes or as a path."""

    modality: str
    content: str | bytes | Path

    def data(self) -> bytes:
        """The media file's bytes."""
        assert not isinstance(self.content, str), "A text part holds no media."
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt with its reference answers; the first answer is the training target.

    `topic` says which question this is ("class", "colour"), so that figures can be split by it. An answer that is not
    `whole` goes on after its last word: that it ends there is not to be learned.
    """

    id: str
    task: Task
    prompt: tuple[Part, ...]
    answers: tuple[str, ...]
    topic: str = ""
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples of one task of one modality, with a real split: nothing of `test` is in `train`."""

    name: str
    task: Task
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]


class Encoder(nn.Module, ABC):
    """A frozen encoder: what `Modality.read` returns goes in, features come out.

    `identity` names the weights and the preprocessing's version; it is part of every cache key.
    """

    identity: str
    width: int  # F

    @abstractmethod
    def forward(self, media: Sequence[Any]) -> list[Tensor]:
        """Features of each media file, (T, F) each, float32."""


@dataclass(frozen=True)
class Modality:
    """All that the rest of Polymera knows of a modality.

    read:      the bytes of one file -> what the encoder takes; raises BadMedia.
    encoder:   the store's folder -> the frozen encoder (fetches its weights when they are missing).
    connector: (F, D) -> a module that maps (B, T, F) to (B, T', D).
    datasets:  the store's folder -> its captioning and QA datasets (fetched and built when missing).
    shows:     a table of what its media have in common with others' (shown.py); without one, no mixed questions.
    """

    name: str
    media_types: tuple[str, ...]
    suffixes: tuple[str, ...]
    max_bytes: int
    read: Callable[[bytes], Any]
    encoder: Callable[[Path], Encoder]
    connector: Callable[[int, int], nn.Module]
    datasets: Callable[[Path], Sequence[Dataset]]
    shows: Path | None = None


def find(name: str) -> Modality:
    """The modality behind a name: `image` is the folder modalities/image, `my_lab.thermal` any module.

    Raises UnknownModality when nothing is there or when it has no MODALITY.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
        raise UnknownModality(f"{name!r} is no module name; use a folder of modalities/ or a dotted name.")
    module = name if "." in name else f"modalities.{name}"
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise UnknownModality(
            f"No modality {name!r}; known: {', '.join(builtin())}. A third party's is given by its dotted module name."
        )
    modality = getattr(importlib.import_module(module), "MODALITY", None)
    if not isinstance(modality, Modality):
        raise UnknownModality(f"The module {name!r} has no MODALITY; define one of type modalities.base.Modality.")
    return modality


def builtin() -> list[str]:
    """The names of the modality folders beside this file: those with an __init__.py."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/__init__.py"))
