"""Sounds: an instrument, a phrase, a noise of everyday life, from any common sound file or a film's sound track.

Importing this is cheap; numpy, PyAV and torch come when a callable needs them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from modalities.base import Dataset, Encoder, Modality

MAX_BYTES = 50_000_000


def _read(data: bytes) -> Any:
    from modalities.audio.read import read

    return read(data)


def _encoder(_: Path) -> Encoder:  # no store: the weights are shipped beside this file
    from modalities.audio.encoder import AudioEncoder

    return AudioEncoder()


def _connector(width_in: int, width_out: int) -> nn.Module:
    from modalities.connectors import MLP

    return MLP(width_in, width_out, dropout=0.1)


def _datasets(store: Path) -> Sequence[Dataset]:
    from modalities.audio.data import datasets

    return datasets(store)


MODALITY = Modality(
    name="audio",
    media_types=(
        "audio/wav",
        "audio/x-wav",
        "audio/flac",
        "audio/mpeg",
        "audio/ogg",
        "audio/mp4",
        "audio/aac",
        "audio/webm",
        "audio/aiff",
    ),
    suffixes=(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".weba", ".aiff", ".aif"),
    max_bytes=MAX_BYTES,
    read=_read,
    encoder=_encoder,
    connector=_connector,
    datasets=_datasets,
    shows=Path(__file__).with_name("shows.toml"),
)
