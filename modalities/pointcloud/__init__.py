"""Point clouds and meshes: a LEGO part, a scan, any 3D file.

Importing this is cheap; numpy, trimesh and torch come when a callable needs them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from modalities.base import Dataset, Encoder, Modality

MAX_BYTES = 64 * 2**20


def _read(data: bytes) -> Any:
    from modalities.pointcloud.read import read

    return read(data)


def _encoder(_: Path) -> Encoder:  # no store: the weights are shipped beside this file
    from modalities.pointcloud.encoder import PointEncoder

    return PointEncoder()


def _connector(width_in: int, width_out: int) -> nn.Module:
    from modalities.connectors import MLP

    return MLP(width_in, width_out, dropout=0.1)


def _datasets(store: Path) -> Sequence[Dataset]:
    from modalities.pointcloud.data import datasets

    return datasets(store)


MODALITY = Modality(
    name="pointcloud",
    media_types=(
        "model/ply",
        "application/x-ply",
        "application/ply",
        "model/gltf-binary",
        "model/obj",
        "model/stl",
        "model/off",
        "application/vnd.pcl.pcd",
        "application/x-npy",
        "text/x-xyz",
    ),
    suffixes=(".ply", ".pcd", ".obj", ".glb", ".stl", ".off", ".xyz", ".npy"),
    max_bytes=MAX_BYTES,
    read=_read,
    encoder=_encoder,
    connector=_connector,
    datasets=_datasets,
    shows=Path(__file__).with_name("shows.toml"),
)
