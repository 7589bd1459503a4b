"""Reading 3D files and encoding them."""

import hashlib
import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from modalities import base
from modalities.base import BadMedia
from modalities.pointcloud import MAX_BYTES, MODALITY
from modalities.pointcloud.data import ply
from modalities.pointcloud.encoder import TOKENS, WEIGHTS, WIDTH, PointEncoder
from modalities.pointcloud.read import read

Array = NDArray[np.float32]
RED = (200, 30, 10)


def a_cloud(count: int = 1500, seed: int = 0) -> Array:
    """A slab, 4 wide, 1 high and 2 deep."""
    rng = np.random.default_rng(seed)
    return (rng.random((count, 3)) * (4, 1, 2)).astype(np.float32)


def a_mesh(colour: tuple[int, int, int] | None = RED) -> Any:
    mesh = trimesh.creation.box((4, 1, 2))
    if colour:
        mesh.visual.vertex_colors = [*colour, 255]
    return mesh


def pcd(points: Array, *, binary: bool, packed: bool = False) -> bytes:
    rgb = np.full((len(points), 1), RED[0] << 16 | RED[1] << 8 | RED[2], np.uint32).view(np.float32)
    rows = np.hstack((points, rgb)) if packed else points
    columns = rows.shape[1]
    header = (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS x y z{' rgb' * packed}\nSIZE {'4 ' * columns}\nTYPE {'F ' * columns}\n"
        f"COUNT {'1 ' * columns}\nWIDTH {len(rows)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(rows)}\n"
        f"DATA {'binary' if binary else 'ascii'}\n"
    )
    text = "\n".join(" ".join(repr(float(value)) for value in row) for row in rows)
    return header.encode() + (rows.astype("<f4").tobytes() if binary else text.encode())


def npy(rows: NDArray[np.generic]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, rows)
    return stream.getvalue()


def exported(shape: Any, kind: str, **options: Any) -> bytes:
    data: bytes | str = shape.export(file_type=kind, **options)
    return data.encode() if isinstance(data, str) else data


def painted(points: Array) -> bytes:
    return ply(points, np.tile(np.array(RED, np.float32), (len(points), 1)))


def text_ply(points: Array, *, coloured: bool) -> bytes:
    make: Any = trimesh.PointCloud
    return exported(
        make(points, colors=np.tile((*RED, 255), (len(points), 1)) if coloured else None), "ply", encoding="ascii"
    )


def lines(points: Array, between: str = " ") -> bytes:
    return "\n".join(between.join(f"{value:.6f}" for value in row) for row in points).encode()


COLOURED = {
    "binary PLY cloud": painted(a_cloud()),
    "text PLY cloud": text_ply(a_cloud(), coloured=True),
    "binary PLY mesh": exported(a_mesh(), "ply"),
    "text PLY mesh": exported(a_mesh(), "ply", encoding="ascii"),
    "GLB": exported(a_mesh(), "glb"),
    "OBJ": exported(a_mesh(), "obj"),
    "text PCD": pcd(a_cloud(), binary=False, packed=True),
    "binary PCD": pcd(a_cloud(), binary=True, packed=True),
    "XYZ of 255": lines(np.hstack((a_cloud(), np.tile(RED, (1500, 1))))),
    "NPY of 1": npy(np.hstack((a_cloud(), np.tile(np.array(RED) / 255, (1500, 1))))),
}
PLAIN = {
    "binary PLY mesh": exported(a_mesh(None), "ply"),
    "text PLY cloud": text_ply(a_cloud(), coloured=False),
    "binary STL": exported(a_mesh(None), "stl"),
    "text STL": exported(a_mesh(None), "stl_ascii"),
    "OFF": exported(a_mesh(None), "off"),
    "OBJ": b"# by hand\nv 0 0 0\nv 4 0 0\nv 4 1 2\nv 0 1 2\nf 1/1 2/2 3/3 -1/4\n",
    "OBJ of points": b"\n".join(b"v " + line for line in lines(a_cloud()).splitlines()),
    "text PCD": pcd(a_cloud(), binary=False),
    "binary PCD": pcd(a_cloud(), binary=True),
    "XYZ": b"# x y z\n" + lines(a_cloud()),
    "XYZ with commas": lines(a_cloud(), ", "),
    "NPY of doubles": npy(a_cloud().astype(np.float64)),
    "GLB": exported(a_mesh(None), "glb"),
}


@pytest.mark.parametrize("name", COLOURED)
def test_every_format_keeps_shape_and_colour(name: str) -> None:
    cloud = read(COLOURED[name])
    assert cloud.shape == (1024, 6)
    assert cloud.dtype == np.float32
    sides = np.ptp(cloud[:, :3], axis=0)
    np.testing.assert_allclose(sides, (2, 0.5, 1), atol=0.04)
    np.testing.assert_allclose(cloud[:, 3:], np.tile(np.array(RED) / 255, (1024, 1)), atol=0.01)


@pytest.mark.parametrize("name", PLAIN)
def test_a_file_without_colour_is_grey(name: str) -> None:
    cloud = read(PLAIN[name])
    np.testing.assert_allclose(np.ptp(cloud[:, :3], axis=0), (2, 0.5, 1), atol=0.04)
    assert np.abs(cloud[:, 3:] - 0.5).max() < 0.11  # a GLB's default material is a lighter grey


def test_a_glb_with_several_placed_parts_is_read_as_one() -> None:
    scene = trimesh.Scene()
    for side in (-10, 10):
        move = np.eye(4)
        move[0, 3] = side
        scene.add_geometry(a_mesh(RED if side > 0 else (0, 0, 255)), transform=move)
    cloud = read(exported(scene, "glb"))
    right, left = cloud[cloud[:, 0] > 0.5], cloud[cloud[:, 0] < -0.5]
    assert len(right) + len(left) == 1024
    assert right[:, 3].min() > 0.7
    assert left[:, 5].min() > 0.9


def wrapped(left: tuple[int, int, int], right: tuple[int, int, int]) -> Any:
    """A flat square around which a picture of two colours lies."""
    picture = Image.new("RGB", (64, 64), left)
    picture.paste(right, (32, 0, 64, 64))
    square = trimesh.Trimesh([(0, 0, 0), (2, 0, 0), (2, 2, 0), (0, 2, 0)], [(0, 1, 2), (0, 2, 3)], process=False)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture)
    square.visual = trimesh.visual.TextureVisuals(uv=square.vertices[:, :2] / 2, material=material)
    return square


def test_a_picture_around_a_mesh_is_seen_where_it_lies() -> None:
    scene = trimesh.Scene([a_mesh((0, 0, 255)), wrapped(RED, (0, 255, 0))])
    scene.add_geometry(wrapped((255, 255, 0), (255, 255, 255)), transform=np.diag((1, 1, 1, 1)) + np.eye(4, k=3) * 6)
    cloud = read(exported(scene, "glb"))
    seen = {tuple(map(int, colour)) for colour in cloud[:, 3:] > 0.5}
    assert seen == {(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1)}
    left = cloud[(cloud[:, 3] > 0.5) & (cloud[:, 4] < 0.5)]
    right = cloud[(cloud[:, 3] < 0.5) & (cloud[:, 4] > 0.5)]
    assert left[:, 0].max() <= right[:, 0].min(), "red is the left half of its square, green the right one"
    np.testing.assert_allclose(left[:, 3:].mean(0) * 255, RED, atol=1)


def test_a_broken_picture_around_a_mesh_leaves_the_mesh() -> None:
    data = exported(trimesh.Scene([wrapped(RED, RED)]), "glb")
    start = data.index(b"\x89PNG")
    cloud = read(data[: start + 40] + bytes(60) + data[start + 100 :])
    assert cloud.shape == (1024, 6)


def test_position_and_scale_do_not_matter() -> None:
    points = a_cloud(1024)
    near, far = read(painted(points)), read(painted((points + (50, 7, -9)) * 300))
    np.testing.assert_allclose(near, far, atol=1e-3)
    assert np.abs(near[:, :3]).max() == pytest.approx(1)


def test_the_same_bytes_give_the_same_cloud_every_time() -> None:
    for data in (painted(a_cloud(9000)), COLOURED["GLB"]):
        np.testing.assert_array_equal(read(data), read(data))


def test_another_process_reads_the_same_bytes_alike(tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(COLOURED["GLB"])
    code = (
        "import sys, hashlib, pathlib; from modalities.pointcloud.read import read;"
        "print(hashlib.sha256(read(pathlib.Path(sys.argv[1]).read_bytes()).tobytes()).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "a.glb"], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == hashlib.sha256(read(COLOURED["GLB"]).tobytes()).hexdigest()


def test_few_points_are_repeated_and_a_single_one_is_enough() -> None:
    cloud = read(lines(np.array([[3, 4, 5]], np.float32)))
    assert (cloud[:, :3] == 0).all()
    assert len(np.unique(read(lines(a_cloud(10))), axis=0)) == 10


def bad_glb(tree: dict[str, object]) -> bytes:
    chunk = json.dumps(tree).encode()
    chunk += b" " * (-len(chunk) % 4)
    return struct.pack("<4sIII4s", b"glTF", 2, 20 + len(chunk), len(chunk), b"JSON") + chunk


HUGE = b"ply\nformat binary_little_endian 1.0\nelement vertex 4000000000\nproperty float x\nproperty float y\n"
WITH_NAN = a_cloud(5) * (1, np.nan, 1)
BAD = {
    "empty": (b"", "is empty"),
    "only spaces": (b" \n\n ", "is empty"),
    "prose": (b"Dear Sir or Madam, this is a letter about a cloud.", "no 3D file"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "no 3D file"),
    "a huge header": (HUGE + b"property float z\nend_header\n" + bytes(120), "promises 4,000,000,000"),
    "a header cut off": (HUGE, "cut off"),
    "a cut-off binary PLY": (painted(a_cloud(100))[:-37], "cut off"),
    "a cut-off text PLY": (b"\n".join(text_ply(a_cloud(20), coloured=False).splitlines()[:-6]), "PLY"),
    "a cut-off GLB": (COLOURED["GLB"][:-300], "GLB"),
    "a cut-off PCD": (pcd(a_cloud(50), binary=True)[:-40], "fewer points"),
    "a compressed PCD": (pcd(a_cloud(5), binary=True).replace(b"DATA binary", b"DATA binary_compressed"), "Compressed"),
    "a huge PCD": (pcd(a_cloud(5), binary=True).replace(b"POINTS 5", b"POINTS 5000000000"), "promises"),
    "no vertices": (painted(a_cloud(1)).replace(b"vertex 1", b"vertex 0"), "no points"),
    "NaN in a PLY": (painted(WITH_NAN), "NaN"),
    "NaN in text": (b"1 2 3\nnan 2 3\n", "NaN"),
    "infinity": (npy(a_cloud(3) * np.inf), "NaN or infinite"),
    "an OBJ with wrong faces": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "triangles over points"),
    "ragged rows": (b"1 2 3\n4 5\n", "broken"),
    "a pickled NPY": (npy(np.array([{"a": 1}], dtype=object)), "shape"),
    "a flat NPY": (npy(np.arange(9.0)), "shape"),
    "a NPY cut off": (npy(a_cloud(50))[:-40], "promises more"),
    "a GLB without a scene": (bad_glb({"asset": {"version": "2.0"}}), "no points"),
    "a GLB that promises too much": (bad_glb({"accessors": [{"count": 10**12, "type": "VEC3"}]}), "promises"),
    "a GLB with too many nodes": (bad_glb({"accessors": [{"count": 9}], "nodes": [{}] * 10_001}), "nodes"),
    "an empty OFF": (b"OFF\n0 0 0\n", "no points"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_a_cure_and_no_path(name: str) -> None:
    data, reason = BAD[name]
    with pytest.raises(BadMedia, match=reason) as caught:
        read(data)
    assert "/" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(BadMedia, match="fewer points"):
        read(bytes(MAX_BYTES + 1))


@pytest.fixture(scope="module")
def encoder() -> PointEncoder:
    return PointEncoder()


def test_the_folder_is_the_registry(tmp_path: Path) -> None:
    assert base.find("pointcloud") is MODALITY
    encoder = MODALITY.encoder(tmp_path)
    connector = MODALITY.connector(encoder.width, 32)
    tokens = encoder([MODALITY.read(COLOURED["binary PLY cloud"])])[0]
    assert connector(tokens[None]).shape == (1, TOKENS, 32)


def test_tokens_have_their_shape_and_nothing_can_be_trained(encoder: PointEncoder) -> None:
    tokens = encoder([read(COLOURED["GLB"]), read(PLAIN["OFF"])])
    assert [one.shape for one in tokens] == [(TOKENS, WIDTH)] * 2
    assert all(one.dtype == torch.float32 and one.isfinite().all() for one in tokens)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_the_order_of_the_points_does_not_matter(encoder: PointEncoder) -> None:
    cloud = read(COLOURED["text PLY cloud"])
    shuffled = cloud[np.random.default_rng(1).permutation(len(cloud))]
    ours, theirs = encoder([cloud, shuffled])
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_a_cloud_is_encoded_alike_alone_and_in_company(encoder: PointEncoder) -> None:
    clouds = [read(painted(a_cloud(2000, seed))) for seed in range(3)]
    for alone, together in zip(clouds, encoder(clouds), strict=True):
        torch.testing.assert_close(encoder([alone])[0], together, atol=1e-4, rtol=1e-4)


def test_colour_moves_the_tokens(encoder: PointEncoder) -> None:
    cloud = read(COLOURED["GLB"])
    blue = cloud.copy()
    blue[:, 3:] = (0, 0.2, 0.8)
    red_tokens, blue_tokens = encoder([cloud, blue])
    assert (red_tokens - blue_tokens).abs().mean() > 0.05


def test_the_identity_names_the_weights(encoder: PointEncoder, tmp_path: Path) -> None:
    other = load_file(WEIGHTS)
    other["registers"] = other["registers"] + 1
    save_file(other, tmp_path / "other.safetensors")
    assert PointEncoder().identity == encoder.identity
    assert PointEncoder(tmp_path / "other.safetensors").identity != encoder.identity
    assert "/" not in encoder.identity


def test_the_shipped_weights_are_small() -> None:
    assert WEIGHTS.stat().st_size < 4 * 2**20
    assert {one.dtype for one in load_file(WEIGHTS).values() if one.is_floating_point()} == {torch.float16}
