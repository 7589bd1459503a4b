"""What the page can show of a file, made from real files and read back."""

import struct
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from PIL import Image

from ui.preview import SIDE, preview
from ui.solid import POINTS


def back(view: Path | None) -> Any:
    """The mesh in a GLB; what it looks like has many types."""
    assert view is not None
    assert view.suffix == ".glb"
    scene = trimesh.load_scene(view)
    assert len(scene.geometry) == 1
    return next(iter(scene.geometry.values()))


def colours(mesh: Any) -> NDArray[np.uint8]:
    """The colour of each vertex."""
    return np.asarray(mesh.visual.vertex_attributes["color"])[:, :3]


def cloud(path: Path, points: int = 100, colour: tuple[int, int, int] | None = (255, 0, 0)) -> Path:
    """A point cloud on a sphere."""
    places = np.random.default_rng(0).normal(size=(points, 3))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    colours = None if colour is None else np.tile([*colour, 255], (points, 1)).astype(np.uint8)
    trimesh.PointCloud(places, colours).export(path)
    return path


def test_a_point_cloud_becomes_solid_coloured_markers(tmp_path: Path) -> None:
    mesh = back(preview(cloud(tmp_path / "a.ply"), "model"))
    assert len(mesh.faces) == 100 * 8
    assert (colours(mesh) == [255, 0, 0]).all()
    assert mesh.extents.max() > 2, "The markers stand around the points."


def test_a_cloud_without_colours_gets_a_visible_one(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("0 0 0\n1 0 0\n0 1 0\n")
    mesh = back(preview(tmp_path / "a.xyz", "model"))
    assert len(mesh.faces) == 3 * 8
    assert colours(mesh)[:, 2].min() > 100


def test_a_single_point_can_be_seen(tmp_path: Path) -> None:
    assert back(preview(cloud(tmp_path / "a.ply", points=1), "model")).extents.min() > 0


def test_a_large_cloud_is_thinned(tmp_path: Path) -> None:
    mesh = back(preview(cloud(tmp_path / "a.ply", points=POINTS + 1000), "model"))
    assert len(mesh.faces) == POINTS * 8


@pytest.mark.parametrize("name", ["a.npy", "a.xyz", "ascii.pcd", "binary.pcd"])
def test_formats_that_hold_points_alone_keep_their_colours(tmp_path: Path, name: str) -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0]], np.float32)
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, np.column_stack([points, np.tile([0, 1, 0], (3, 1))]))
    elif name == "a.xyz":
        np.savetxt(path, np.column_stack([points, np.tile([0, 255, 0], (3, 1))]))
    else:
        packed = np.full((3, 1), 0x00FF00, np.uint32).view(np.float32)
        head = "VERSION .7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nPOINTS 3\nDATA "
        table = np.column_stack([points, packed])
        body = "\n".join(" ".join(repr(float(x)) for x in row) for row in table).encode()
        path.write_bytes(f"{head}{path.stem}\n".encode() + (body if path.stem == "ascii" else table.tobytes()))
    mesh = back(preview(path, "model"))
    assert len(mesh.faces) == 3 * 8
    assert (colours(mesh) == [0, 255, 0]).all()


def test_points_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    header = (
        "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    path.write_text(header + "0 0 0\nnan 0 0\n1 1 1\n")
    mesh = back(preview(path, "model"))
    assert len(mesh.faces) == 2 * 8
    assert np.isfinite(mesh.vertices).all()


@pytest.mark.parametrize("name", ["a.stl", "a.obj", "a.ply", "a.off", "A.STL"])
def test_a_mesh_stays_a_mesh_and_is_not_bare_metal(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    trimesh.creation.box().export(path, file_type=path.suffix[1:].lower())
    mesh = back(preview(path, "model"))
    assert len(mesh.faces) == 12
    assert b'"metallicFactor":0' in (tmp_path / f"{name}.preview.glb").read_bytes()


def test_a_material_of_its_own_is_kept(tmp_path: Path) -> None:
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[0, 255, 0, 255], metallicFactor=0.25)
    visual = trimesh.visual.TextureVisuals(uv=np.zeros((8, 2)), material=material)
    box = trimesh.creation.box()
    box.visual = visual
    box.export(tmp_path / "a.glb")
    assert back(preview(tmp_path / "a.glb", "model")).visual.material.metallicFactor == 0.25


@pytest.mark.parametrize("content", [b"", b"ply\nnonsense", bytes(range(256))])
def test_a_broken_model_has_no_preview(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(content)
    assert preview(path, "model") is None


def test_a_model_cannot_pull_in_its_neighbours(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "secret.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd secret.png\n")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nusemtl m\nf 1/1 2/1 3/1\n")
    view = preview(tmp_path / "a.obj", "model")
    assert view is not None
    texture = back(view).visual.material.baseColorTexture
    assert texture is None or texture.size != (8, 8)


def test_a_picture_is_made_small_upright_and_common(tmp_path: Path) -> None:
    picture = Image.new("RGB", (1600, 800), "blue")
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned
    picture.save(tmp_path / "a.tiff", exif=exif)
    view = preview(tmp_path / "a.tiff", "image")
    assert view is not None
    with Image.open(view) as shown:
        assert (shown.format, shown.size) == ("WEBP", (SIDE // 2, SIDE))


def test_what_is_transparent_stays_so(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    view = preview(tmp_path / "a.png", "image")
    assert view is not None
    with Image.open(view) as shown:
        assert shown.mode == "RGBA"


def test_a_giant_and_a_false_picture_have_no_preview(tmp_path: Path) -> None:
    (tmp_path / "false.png").write_text("not a picture")
    assert preview(tmp_path / "false.png", "image") is None
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 10_000, 1, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "giant.png").write_bytes(start)
    assert preview(tmp_path / "giant.png", "image") is None


def test_sound_is_shown_as_it_is_and_the_rest_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    assert preview(path, "audio") == path
    assert preview(path, "application") is None


def film(path: Path, container: str, codec: str, rotation: int = 0) -> Path:
    """Twelve frames, 96 x 64."""
    with av.open(str(path), "w", format=container) as file:
        track: Any = file.add_stream(codec, rate=8)
        track.width, track.height, track.pix_fmt = 96, 64, "yuv420p"
        if rotation:
            track.set_display_rotation(rotation)
        for grey in range(12):
            file.mux(track.encode(av.VideoFrame.from_ndarray(np.full((96, 96), 20 * grey, np.uint8), "yuv420p")))
        file.mux(track.encode())
    return path


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("webm", "libvpx-vp9")])
def test_a_film_that_browsers_play_is_shown_as_it_is(tmp_path: Path, container: str, codec: str) -> None:
    path = film(tmp_path / f"a.{container}", container, codec)
    assert preview(path, "video") == path


@pytest.mark.parametrize(
    ("suffix", "container", "codec"), [("avi", "avi", "mpeg4"), ("mp4", "mp4", "mpeg4"), ("mov", "mov", "libx264")]
)
def test_any_other_film_is_made_one_that_they_play(tmp_path: Path, suffix: str, container: str, codec: str) -> None:
    view = preview(film(tmp_path / f"a.{suffix}", container, codec), "video")
    assert view == tmp_path / f"a.{suffix}.preview.mp4"
    with av.open(str(view)) as file:
        track = file.streams.video[0]
        assert (track.codec_context.name, track.width, track.height, track.frames) == ("h264", 96, 64, 12)


def test_a_film_made_anew_stands_upright(tmp_path: Path) -> None:
    view = preview(film(tmp_path / "a.mov", "mov", "libx264", rotation=90), "video")
    with av.open(str(view)) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (64, 96)


def test_a_film_that_cannot_be_read_is_shown_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no film")
    assert preview(tmp_path / "a.mp4", "video") is None
