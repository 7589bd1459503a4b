"""The bytes of a 3D file -> a coloured cloud (N, 6): xyz in [-1, 1], rgb in [0, 1]. formats.py knows the formats.

Meshes are sampled on their surface, clouds thinned or filled up, both by a seed that is the file's own hash.
"""

import hashlib

import numpy as np

from modalities.base import BadMedia
from modalities.pointcloud import MAX_BYTES
from modalities.pointcloud.formats import KNOWN, Shape, sniff
from modalities.pointcloud.sampling import CANDIDATES, POINTS, Array, centred, farthest, surface

GREY = 0.5


def read(data: bytes) -> Array:
    """The cloud of a 3D file's bytes. Raises BadMedia."""
    return cloud(*parsed(data))


def parsed(data: bytes) -> tuple[Shape, str, int]:
    """The shape in a 3D file, the file's kind, and a seed that is its own hash. Raises BadMedia."""
    if len(data) > MAX_BYTES:
        raise BadMedia(f"The 3D file is larger than {MAX_BYTES // 2**20} MiB; send one with fewer points.")
    found = sniff(data)
    if found is None:
        reason = "is no 3D file that can be read" if data.strip() else "is empty"
        raise BadMedia(f"The file {reason}; send a {KNOWN} file with points.")
    kind, load = found
    try:
        with np.errstate(all="ignore"):
            shape = load(data)
    except BadMedia:
        raise
    except MemoryError as error:
        raise BadMedia(f"The {kind} file promises more than it can hold; save it again.") from error
    except Exception as error:  # parsers of broken files raise anything
        raise BadMedia(f"The {kind} file is broken or cut off; save it again, or as binary PLY.") from error
    return shape, kind, int.from_bytes(hashlib.sha256(data).digest()[:8])


def cloud(shape: Shape, kind: str, seed: int, count: int = POINTS, candidates: int = CANDIDATES) -> Array:
    """`count` evenly spread points of a shape with their colours, centred and scaled."""
    points, colours = np.asarray(shape.points, np.float64), shape.colours
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise BadMedia(f"The {kind} file holds no points; send one with at least one point.")
    if not np.isfinite(points).all() or np.abs(points).max() > 1e30:
        raise BadMedia(f"The {kind} file holds coordinates that are no numbers (NaN or infinite); remove those points.")
    if colours is None or len(colours) != len(points) or not np.isfinite(colours).all():
        colours = np.full((len(points), 3), GREY)
    fine, tint = centred(points), np.clip(colours, 0, 1).astype(np.float32)  # centred first: float32 is coarse far out
    if shape.faces is not None and len(shape.faces):
        if shape.faces.min() < 0 or shape.faces.max() >= len(points):
            raise BadMedia(f"The {kind} file has triangles over points that it does not hold; save it again.")
        fine, chosen, weights = surface(fine, shape.faces, candidates, seed)
        tint = np.einsum("nk,nkd->nd", weights, tint[shape.faces[chosen]])
        for skin in shape.skins:
            on = (chosen >= skin.faces.start) & (chosen < skin.faces.stop)
            tint[on] = skin.colours(shape.faces[chosen[on]], weights[on])
    elif len(fine) > candidates:
        kept = np.sort(np.random.default_rng(seed).choice(len(fine), candidates, replace=False))
        fine, tint = fine[kept], tint[kept]
    few = len(fine) <= count  # then all of them, again and again
    kept = np.arange(count) % len(fine) if few else farthest(fine, count)
    return np.concatenate((centred(fine[kept]), tint[kept]), axis=1).astype(np.float32)
