"""Pictures that are wrapped around meshes: which of a scene's triangles has one, and its colour at a place.

It knows no file format and no sampling.

Shapes: N = places, V = points of one mesh; the meshes of a shape stand one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from trimesh.visual.color import uv_to_color

MOST_PIXELS = 50_000_000  # of all pictures of a file


@dataclass(frozen=True)
class Skin:
    """A picture that is wrapped around some of a shape's triangles."""

    picture: Image.Image
    at: NDArray[Any]  # (V, 2), where each of the mesh's points lies in it: from left and from below, in [0, 1]
    tint: NDArray[Any]  # (3,), in [0, 1]; the picture is multiplied by it
    start: int  # the place of the mesh's first point among the shape's
    faces: range  # of the shape

    def colours(self, corners: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
        """The colours (N, 3) in [0, 1] inside triangles: their corners (N, 3) in the shape, and barycentric weights."""
        places = np.einsum("nk,nkd->nd", weights, self.at[corners - self.start])
        seen: NDArray[Any] = np.asarray(uv_to_color(places, self.picture))[:, :3] / 255 * self.tint
        return seen


def skins(meshes: Sequence[Any], points: Sequence[int], faces: Sequence[int]) -> tuple[Skin, ...]:
    """The skins of trimesh's meshes, which have so many points and triangles each."""
    found, start, first, room = [], 0, 0, MOST_PIXELS
    for mesh, size, number in zip(meshes, points, faces, strict=True):
        picture, uv = _picture(mesh, room), getattr(mesh.visual, "uv", None)
        if number and picture is not None and uv is not None and len(uv) == size:
            room -= picture.width * picture.height
            at = np.nan_to_num(np.asarray(uv, np.float64))
            factor = getattr(mesh.visual.material, "baseColorFactor", None)
            tint = np.ones(3) if factor is None else np.asarray(factor, np.float64)[:3] / 255
            found.append(Skin(picture, at, tint, start, range(first, first + number)))
        start, first = start + size, first + number
    return tuple(found)


def _picture(mesh: Any, room: int) -> Image.Image | None:
    """The picture of a mesh's material, if it has one that can be opened and has no more than `room` pixels."""
    material = getattr(mesh.visual, "material", None)
    picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if not isinstance(picture, Image.Image) or picture.width * picture.height > room:
        return None
    try:
        return picture.convert("RGB")
    except Exception:  # a stranger's picture may be broken in any way: its mesh has a plain colour then
        return None
