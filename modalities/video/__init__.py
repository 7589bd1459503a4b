"""Videos: four frames through the pictures' encoder, with what changes between them; captions and questions over
animated game units.

Importing this is cheap; PyAV, numpy and torch come when a callable needs them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from modalities.base import Dataset, Encoder, Modality


def _read(data: bytes) -> Any:
    from modalities.video.reading import read

    return read(data)


def _encoder(store: Path) -> Encoder:
    from modalities.video.encoder import load

    return load(store)


def _connector(width_in: int, width_out: int) -> nn.Module:
    from modalities.connectors import MLP

    return MLP(width_in, width_out, hidden=width_out // 2, dropout=0.3)  # wide features: five megabytes else


def _datasets(store: Path) -> Sequence[Dataset]:
    from modalities.video.data import load

    return load(store)


MODALITY = Modality(
    name="video",
    media_types=("video/mp4", "video/webm", "video/quicktime", "video/x-matroska", "video/x-msvideo", "image/gif"),
    suffixes=(".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v", ".gif"),
    max_bytes=200_000_000,
    read=_read,
    encoder=_encoder,
    connector=_connector,
    datasets=_datasets,
    shows=Path(__file__).with_name("shows.toml"),
)
