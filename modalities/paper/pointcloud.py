"""The paper's point cloud: Point-BERT v1.2 (PointLLM's, with colour), an MLP connector, Cap3D and Cap3D-QA."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from modalities.architectures import Projector
from modalities.base import Encoder
from modalities.encoders import pointbert
from modalities.paper import cap3d
from modalities.pointcloud import MODALITY as SOLID
from modalities.pointcloud.read import cloud, parsed
from modalities.pointcloud.sampling import Array

WEIGHTS = "point_bert_v1.2.pt"
CANDIDATES = 2 * pointbert.POINTS  # drawn before the most evenly spread ones are kept


def read(data: bytes) -> Array:
    """A 3D file's bytes -> 8,192 coloured points (N, 6) in the unit ball around their mean. Raises BadMedia."""
    points = cloud(*parsed(data), pointbert.POINTS, CANDIDATES)  # in a box from -1 to 1
    places = points[:, :3] - points[:, :3].mean(0)
    reach = float(np.sqrt(np.square(places).sum(1)).max())
    out: Array = np.concatenate((places / (reach or 1.0), points[:, 3:]), 1).astype(np.float32)
    return out


def encoder(store: Path) -> Encoder:
    """513 tokens; the file lies in store/assets."""
    return pointbert.load(store, WEIGHTS)


MODALITY = replace(SOLID, read=read, encoder=encoder, connector=Projector, datasets=cap3d.load)
