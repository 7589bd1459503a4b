"""3D file formats: which one it is, told from the bytes and never from a name, and the points that it holds.

What a header promises is checked before memory is taken for it. It knows no sampling and no colour of its own.
"""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from modalities.base import BadMedia
from modalities.pointcloud.skins import Skin, skins

KNOWN = "PLY, PCD, OBJ, GLB, STL, OFF, XYZ or NPY"
MOST = 5_000_000  # points, or triangles, of one file


@dataclass(frozen=True)
class Shape:
    """What a file holds: points, perhaps their colours in [0, 1], perhaps triangles over them and their skins."""

    points: NDArray[Any]  # (V, 3)
    colours: NDArray[Any] | None = None  # (V, 3)
    faces: NDArray[Any] | None = None  # (M, 3)
    skins: tuple[Skin, ...] = ()


def sniff(data: bytes) -> tuple[str, Callable[[bytes], Shape]] | None:
    """What the format is called, and who can read it; None for what no one can."""
    start = data[:1024]
    if re.match(rb"ply\r?\n", start):
        return "PLY", ply
    if start.startswith(b"\x93NUMPY"):
        return "NPY", npy
    if start.startswith(b"glTF"):
        return "GLB", glb
    if re.match(rb"\s*C?OFF\b", start):
        return "OFF", off
    if re.search(rb"^FIELDS\s", start, re.MULTILINE) and re.search(rb"^DATA\s", data[:4096], re.MULTILINE):
        return "PCD", pcd
    if len(data) >= 84 and 84 + 50 * int.from_bytes(data[80:84], "little") == len(data):
        return "STL", stl
    if b"\x00" in start:
        return None
    if re.match(rb"\s*solid\b", start) and b"facet" in start:
        return "STL", stl
    if re.search(rb"^v\s+[-+.\d]", data[:65536], re.MULTILINE):
        return "OBJ", obj
    number = rb"[-+]?(\.?\d[\d.eE+-]*|nan|inf)"
    if re.match(rb"(\s*(#|//).*\n)*\s*" + number + rb"([ \t,;]+" + number + rb"){2}", start, re.IGNORECASE):
        return "XYZ", xyz
    return None


def ply(data: bytes) -> Shape:
    """PLY, text or binary, cloud or mesh."""
    header, found, _ = data[:65536].partition(b"end_header")
    counts = [int(count) for count in re.findall(rb"^element\s+\w+\s+(\d+)", header, re.MULTILINE)]
    if not found or not counts:
        raise BadMedia("The PLY file's header is cut off; save it again.")
    promised(sum(counts), data, "PLY")
    shape = _geometry(trimesh.load(io.BytesIO(data), file_type="ply", process=False))
    if len(shape.points) < counts[0]:
        raise BadMedia("The PLY file holds fewer points than its header promises; save it again.")
    return shape


def glb(data: bytes) -> Shape:
    """Binary glTF with its buffers inside."""
    length = int.from_bytes(data[12:16], "little")
    tree = json.loads(data[20 : 20 + length])
    promised(sum(int(accessor["count"]) for accessor in tree.get("accessors", ())), data, "GLB")
    if len(tree.get("nodes", ())) > 10_000:
        raise BadMedia("The GLB file has more than 10,000 nodes; join them before you save it.")
    scene = trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False)
    placed = sum(len(scene.geometry[scene.graph[node][1]].vertices) for node in scene.graph.nodes_geometry)
    if placed > MOST:
        raise BadMedia(f"The GLB file places more than {MOST:,} points; simplify it.")
    parts = scene.dump()
    shapes = [_geometry(one) for one in parts]
    offsets = np.cumsum([0, *(len(shape.points) for shape in shapes)])
    faces = [shape.faces + at for shape, at in zip(shapes, offsets, strict=False) if shape.faces is not None]
    grey = [np.full((len(shape.points), 3), 0.5) if shape.colours is None else shape.colours for shape in shapes]
    points = np.concatenate([shape.points for shape in shapes])
    numbers = [0 if shape.faces is None else len(shape.faces) for shape in shapes]
    wrapped = skins(parts, [len(shape.points) for shape in shapes], numbers)
    return Shape(points, np.concatenate(grey), np.concatenate(faces) if faces else None, wrapped)


def stl(data: bytes) -> Shape:
    """STL, text or binary."""
    return _geometry(trimesh.load(io.BytesIO(data), file_type="stl", process=False))


def off(data: bytes) -> Shape:
    """OFF, text."""
    counts = re.search(rb"OFF\s+(?:#.*\s+)*(\d+)\s+(\d+)", data[:4096])
    promised(int(counts[1]) + int(counts[2]) if counts else 0, data, "OFF")
    return _geometry(trimesh.load(io.BytesIO(data.replace(b"COFF", b"OFF", 1)), file_type="off", process=False))


def obj(data: bytes) -> Shape:
    """Wavefront OBJ, with colours after the coordinates where there are some; materials are other files."""
    rows, faces = [], []
    for line in data.decode("utf-8", "replace").splitlines():
        words = line.split()
        if words[:1] == ["v"]:
            rows.append([float(word) for word in words[1:7]])
        elif words[:1] == ["f"]:
            corners = [int(word.split("/")[0]) for word in words[1:]]
            corners = [corner - 1 if corner > 0 else len(rows) + corner for corner in corners]
            faces += [(corners[0], *pair) for pair in zip(corners[1:], corners[2:], strict=False)]
    return _table(np.array([row if len(row) == 6 else row[:3] for row in rows]), np.array(faces) if faces else None)


def xyz(data: bytes) -> Shape:
    """Lines of x y z, perhaps with r g b."""
    text = re.sub(rb"[,;\t]", b" ", data).decode("ascii")
    return _table(np.loadtxt(io.StringIO(text), ndmin=2, comments=("#", "//")))


def npy(data: bytes) -> Shape:
    """A NumPy array (N, 3) or (N, 6), never a pickle."""
    stream = io.BytesIO(data)
    version = tuple(data[6:8])
    header: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    stream.seek(8)
    shape, _, dtype = header(stream)
    if dtype.kind not in "fiu" or len(shape) != 2 or shape[1] < 3:
        raise BadMedia("The NPY file must hold numbers of shape (N, 3) or (N, 6); save it so.")
    if shape[0] * shape[1] * dtype.itemsize > len(data) - stream.tell():
        raise BadMedia("The NPY file promises more points than it can hold; save it again.")
    stream.seek(0)
    return _table(np.load(stream, allow_pickle=False))


def pcd(data: bytes) -> Shape:
    """Point Cloud Library's PCD, text or binary."""
    found = re.search(rb"^DATA[ \t]+(\w+)[ \t\r]*\n", data[:4096], re.MULTILINE)
    header = dict(re.findall(r"^(\w+)[ \t]+(.*?)[ \t\r]*$", data[:4096].decode("latin-1"), re.MULTILINE))
    if not found or found[1] == b"binary_compressed":
        raise BadMedia("Compressed PCD files cannot be read; save it as ascii or binary PCD, or as PLY.")
    count = int(header["POINTS"])
    promised(count, data, "PCD")
    names, sizes, kinds = (header[key].split() for key in ("FIELDS", "SIZE", "TYPE"))
    repeats = [int(n) for n in header.get("COUNT", "1 " * len(names)).split()]
    kind = {"F": "f", "I": "i", "U": "u"}
    fields = [
        (f"{name}{i}", f"<{kind[letter]}{size}", (repeat,))
        for i, (name, size, letter, repeat) in enumerate(zip(names, sizes, kinds, repeats, strict=True))
    ]
    dtype = np.dtype(fields)
    body = data[found.end() :]
    if found[1] == b"ascii":
        table = np.loadtxt(io.StringIO(body.decode("ascii")), ndmin=2)[:count]  # (V, columns)
        at = np.cumsum([0, *repeats])
        columns = {name: table[:, start] for name, start in zip(names, at, strict=False)}
    else:
        if count * dtype.itemsize > len(body):
            raise BadMedia("The PCD file holds fewer points than its header promises; save it again.")
        rows = np.frombuffer(body, dtype, count)
        columns = {name: rows[field[0]][:, 0] for name, field in zip(names, fields, strict=True)}
    packed = columns.get("rgb", columns.get("rgba"))
    return Shape(np.stack([columns[axis] for axis in "xyz"], 1), None if packed is None else _unpacked(packed))


def promised(count: int, data: bytes, kind: str) -> None:
    """Refuse a header that promises more than the file can hold, or nothing."""
    if count == 0:
        raise BadMedia(f"The {kind} file holds no points; send one with at least one point.")
    if count > min(len(data), MOST):
        raise BadMedia(f"The {kind} file's header promises {count:,} elements, more than it can hold; save it again.")


def _unpacked(packed: NDArray[Any]) -> NDArray[Any]:
    """PCD's colours, three bytes in one number that is often called a float."""
    bits = packed.astype(np.float32).view(np.uint32) if packed.dtype.kind == "f" else packed.astype(np.uint32)
    return np.stack([(bits >> shift & 255) / 255 for shift in (16, 8, 0)], 1)


def _table(rows: NDArray[Any], faces: NDArray[Any] | None = None) -> Shape:
    """Rows of x y z, and r g b where there are six columns or more: of 255 or of 1."""
    rows = np.asarray(rows, np.float64)
    colours = rows[:, 3:6] if rows.ndim == 2 and rows.shape[1] >= 6 else None
    if colours is not None and len(colours) and np.nanmax(colours) > 1:
        colours = colours / 255
    return Shape(rows[:, :3], colours, faces)


def _geometry(found: Any) -> Shape:
    """A trimesh cloud or mesh, its colours brought to its vertices."""
    if isinstance(found, trimesh.PointCloud):
        colours = np.asarray(found.colors)
        return Shape(found.vertices, colours[:, :3] / 255 if len(colours) else None)
    if not isinstance(found, trimesh.Trimesh):
        raise BadMedia(f"The file holds no points; send a {KNOWN} file with points.")
    return Shape(found.vertices, _mesh_colours(found), found.faces if len(found.faces) else None)


def _mesh_colours(mesh: trimesh.Trimesh) -> NDArray[Any] | None:
    visual: Any = mesh.visual
    if visual.kind == "texture":  # where there is no picture, its material has a plain colour
        plain = np.asarray(visual.material.main_color, np.float64)[:3] / 255
        return np.tile(plain, (len(mesh.vertices), 1))
    return np.asarray(visual.vertex_colors)[:, :3] / 255 if visual.defined else None
