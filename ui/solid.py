"""3D files as GLB, which every browser can turn: meshes as they are, point clouds as small solid markers.

A bare point would be one pixel wide. It knows no page and judges no file: what cannot be read raises something.

Shapes: N = points.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.exchange.gltf import export_glb

POINTS = 12_000  # markers drawn at most: turns smoothly even without a graphics card
FACETS = 50_000  # meshes up to this size get sharp edges, which takes a moment
PLAIN = (134, 138, 236, 255)  # for what brings no colour of its own
MATTE = {"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.7}}

# A marker is an octahedron; its corners are its normals too, so that it is shaded like a little ball.
CORNERS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
FACES = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])

Array = NDArray[Any]


def to_glb(data: bytes, kind: str) -> bytes:
    """The file's scene; `kind` is its suffix without the dot."""
    if kind in TABLES:
        shapes = [_markers(*TABLES[kind](data))]
    else:  # from memory, so that a file cannot pull in its neighbours by name
        shapes = [_solid(shape) for shape in trimesh.load_scene(io.BytesIO(data), file_type=kind).dump()]
    # The typed name of a function that has no types.
    export: Callable[..., bytes] = export_glb
    return export(trimesh.Scene(shapes), include_normals=True, tree_postprocessor=_matte)


def _solid(shape: Any) -> trimesh.Trimesh:
    """Something with a surface, coloured in the linear space of glTF."""
    if isinstance(shape, trimesh.PointCloud):
        return _markers(np.asarray(shape.vertices), np.asarray(shape.colors))
    assert isinstance(shape, trimesh.Trimesh), "Lines cannot be shown."
    if isinstance(shape.visual, trimesh.visual.ColorVisuals):
        colours = shape.visual.vertex_colors if shape.visual.kind else np.tile(PLAIN, (len(shape.vertices), 1))
        shape.visual = trimesh.visual.ColorVisuals(shape, vertex_colors=_linear(np.asarray(colours)))
    return shape.smooth_shaded if len(shape.faces) <= FACETS else shape


def _markers(points: Array, colours: Array | None) -> trimesh.Trimesh:
    """One marker for each point, sized so that neighbours nearly touch."""
    if colours is None or len(colours) != len(points):
        colours = np.tile(PLAIN, (len(points), 1))  # (N, 4)
    keep = np.flatnonzero(np.isfinite(points).all(axis=1))
    if len(keep) > POINTS:
        keep = np.random.default_rng(0).choice(keep, POINTS, replace=False)
    points, colours = points[keep].astype(np.float32), colours[keep]
    # The points of a scan lie on a surface, so their spacing goes with the square root of their number.
    radius = 0.5 * np.linalg.norm(np.ptp(points, axis=0)) / np.sqrt(len(points)) or 1.0
    return trimesh.Trimesh(
        vertices=(points[:, None] + radius * CORNERS).reshape(-1, 3),  # (6N, 3)
        faces=(FACES + len(CORNERS) * np.arange(len(points))[:, None, None]).reshape(-1, 3),  # (8N, 3)
        vertex_normals=np.tile(CORNERS, (len(points), 1)),
        vertex_colors=_linear(np.repeat(colours, len(CORNERS), axis=0)),
        process=False,
    )


def _linear(colours: Array) -> NDArray[np.uint8]:
    """Screen colours (sRGB) to light: glTF's vertex colours are linear, files and screens are not."""
    linear = colours.astype(np.float32)
    linear[:, :3] = 255 * (linear[:, :3] / 255) ** 2.2
    return linear.round().astype(np.uint8)


def _matte(tree: dict[str, Any]) -> None:
    """A matte material for what has none: the format's default is bare metal, black without a room to reflect."""
    materials = tree.setdefault("materials", [])
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive.setdefault("material", len(materials))
    materials.append(MATTE)


def _rows(rows: Array) -> tuple[Array, Array | None]:
    """Rows of x y z, perhaps with r g b of 1 or of 255."""
    if rows.ndim != 2 or rows.shape[1] < 3:
        raise ValueError("Rows of points have three columns or more.")
    if rows.shape[1] < 6:
        return rows[:, :3], None
    return rows[:, :3], _opaque(rows[:, 3:6] * (1 if rows[:, 3:6].max() > 1 else 255))


def _pcd(data: bytes) -> tuple[Array, Array | None]:
    """Point Cloud Library's PCD, text or binary."""
    head, _, rest = data.partition(b"\nDATA ")
    storage, _, body = rest.partition(b"\n")
    says = {words[0]: words[1:] for words in map(str.split, head.decode("ascii").splitlines()) if words}
    kinds = [f"<{kind.lower()}{size}" for kind, size in zip(says["TYPE"], says["SIZE"], strict=True)]
    layout = np.dtype(list(zip(says["FIELDS"], kinds, strict=True)))
    if storage.strip() == b"ascii":
        table = np.loadtxt(io.BytesIO(body), dtype=layout, ndmin=1)
    else:
        table = np.frombuffer(body, layout, int(says["POINTS"][0]))
    points = np.stack([table[axis] for axis in "xyz"], axis=1)  # (N, 3)
    if "rgb" not in says["FIELDS"]:
        return points, None
    packed = np.ascontiguousarray(table["rgb"]).view(np.uint32)  # three bytes in what calls itself a float
    return points, _opaque(np.stack([packed >> shift & 255 for shift in (16, 8, 0)], axis=1))


def _opaque(colours: Array) -> Array:
    return np.column_stack([colours, np.full(len(colours), 255)])


TABLES: dict[str, Callable[[bytes], tuple[Array, Array | None]]] = {
    "npy": lambda data: _rows(np.load(io.BytesIO(data))),
    "xyz": lambda data: _rows(np.loadtxt(io.BytesIO(data), ndmin=2)),
    "pcd": _pcd,
}
