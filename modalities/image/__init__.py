"""Pictures: EfficientNet-Lite2 as 17 tokens, an MLP connector, captions and questions over emoji art."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from modalities.base import Dataset, Encoder, Modality


def _read(data: bytes) -> Any:
    from modalities.image.reading import read

    return read(data)


def _encoder(store: Path) -> Encoder:
    from modalities.image.encoder import load

    return load(store)


def _connector(width_in: int, width_out: int) -> nn.Module:
    from modalities.connectors import MLP

    return MLP(width_in, width_out, dropout=0.3)


def _datasets(store: Path) -> Sequence[Dataset]:
    from modalities.image.data import load

    return load(store)


MODALITY = Modality(
    name="image",
    media_types=("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff", "image/avif"),
    suffixes=(".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
    max_bytes=20_000_000,
    read=_read,
    encoder=_encoder,
    connector=_connector,
    datasets=_datasets,
    shows=Path(__file__).with_name("shows.toml"),
)
