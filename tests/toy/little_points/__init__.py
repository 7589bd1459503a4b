"""little-points: the paper's point cloud with a Point-BERT of one block."""

from dataclasses import replace
from functools import partial

from modalities.encoders import pointbert
from modalities.paper import pointcloud

MODALITY = replace(pointcloud.MODALITY, encoder=partial(pointbert.load, source=pointcloud.WEIGHTS, depth=1))
