"""Files that a user really has, made with real tools, through a real server: each is answered, or refused with a cure.

A row is one file: what it is, which modality it is sent as, its bytes, and for a refusal what the message says. A new
modality adds its rows; those of one that is not there are left out.
"""

import base64
import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from modalities.base import builtin
from modalities.checkpoint import Store
from modalities.image.encoder import load
from tests import pico
from tests.modalities.films import animated, film
from tests.modalities.test_pointcloud import a_cloud, a_mesh, exported, lines, npy, painted, pcd, text_ply
from tests.modalities.test_video import sound_only
from tests.serving.running import Running, serve

SENSES = ("image", "video", "pointcloud")  # that the pico checkpoint has learned; "audio" as soon as it is there


@dataclass(frozen=True)
class Row:
    """One file of a user."""

    what: str
    modality: str
    data: Callable[[], bytes]
    refused: str | None = None  # what the refusal says; None: it is answered


def photo(width: int = 640, height: int = 480) -> Image.Image:
    """Sky over a meadow, with grain."""
    rgb = np.zeros((height, width, 3), np.int32)
    rgb[: height // 2], rgb[height // 2 :] = (120, 170, 230), (60, 130, 40)
    grain = np.random.default_rng(0).integers(-20, 20, (height, width, 1))
    return Image.fromarray((rgb + grain).clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def phone() -> bytes:
    """4000 x 3000, held upright: turned by EXIF, with a second picture behind the first as phones write it (MPO)."""
    tags = Image.Exif()
    tags[0x0112] = 6
    large = photo(4000, 3000)
    return saved(large, "MPO", save_all=True, append_images=[large.resize((400, 300))], exif=tags, quality=85)


def textured(meshes: int = 3) -> Any:
    """Boxes side by side, each with a picture wrapped around it, and one of a plain colour."""
    scene = trimesh.Scene()
    for number in range(meshes):
        box = trimesh.creation.box()
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=photo(64, 64))
        box.visual = trimesh.visual.TextureVisuals(uv=box.vertices[:, :2] + 0.5, material=material)
        scene.add_geometry(box, transform=trimesh.transformations.translation_matrix((2 * number, 0, 0)))
    scene.add_geometry(a_mesh(), transform=trimesh.transformations.translation_matrix((0, 3, 0)))
    return scene


def heic() -> bytes:
    return struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic") + bytes(400)


ALL: tuple[Row, ...] = (
    Row("a phone's JPEG, 12 megapixels, turned by EXIF", "image", phone),
    Row("a palette PNG", "image", lambda: saved(photo().quantize(16), "PNG")),
    Row("a PNG with alpha", "image", lambda: saved(photo().convert("RGBA"), "PNG")),
    Row("a CMYK JPEG from a print shop", "image", lambda: saved(photo().convert("CMYK"), "JPEG")),
    Row("a progressive grey JPEG", "image", lambda: saved(photo().convert("L"), "JPEG", progressive=True)),
    Row("a PNG with 16 bits", "image", lambda: saved(Image.fromarray(np.full((40, 60), 30000, np.uint16)), "PNG")),
    Row("an animated GIF", "image", lambda: animated("GIF")),
    Row("an animated WebP", "image", lambda: animated("WEBP")),
    Row("an animated PNG", "image", lambda: animated("PNG")),
    Row("a bitmap", "image", lambda: saved(photo(), "BMP")),
    Row("a scan as TIFF", "image", lambda: saved(photo(), "TIFF", compression="tiff_lzw")),
    Row("an AVIF of a web page", "image", lambda: saved(photo(), "AVIF")),
    Row("an iPhone's HEIC", "image", heic, "send PNG, JPEG"),
    Row("a drawing as SVG", "image", lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', "send PNG, JPEG"),
    Row("half a download", "image", lambda: saved(photo(), "JPEG")[:9000], "cut short"),
    Row("an MP4 with sound", "video", lambda: film(sound=True)),
    Row("a phone's MP4, held upright", "video", lambda: film(size=(1920, 1080), rotation=-90)),
    Row("a WebM", "video", lambda: film("webm")),
    Row("a camera's MOV", "video", lambda: film("mov")),
    Row("an old AVI", "video", lambda: film("avi")),
    Row("a GIF as a video", "video", lambda: animated("GIF")),
    Row("an MP4 of sound only", "video", sound_only, "no pictures"),
    Row("an MP4 whose end is missing", "video", lambda: film()[:-200], "cut short"),
    Row("a playlist", "video", lambda: b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", "no video"),
    Row("a binary PLY with colour", "pointcloud", lambda: painted(a_cloud())),
    Row("a text PLY without", "pointcloud", lambda: text_ply(a_cloud(), coloured=False)),
    Row("a text PLY mesh", "pointcloud", lambda: exported(a_mesh(), "ply", encoding="ascii")),
    Row("a scanner's PCD", "pointcloud", lambda: pcd(a_cloud(), binary=True, packed=True)),
    Row("an OBJ", "pointcloud", lambda: exported(a_mesh(), "obj")),
    Row("a GLB scene with several textured meshes", "pointcloud", lambda: exported(textured(), "glb")),
    Row("a print shop's STL", "pointcloud", lambda: exported(a_mesh(None), "stl")),
    Row("a NumPy array", "pointcloud", lambda: npy(a_cloud())),
    Row("an XYZ list", "pointcloud", lambda: lines(a_cloud())),
    Row("a text glTF that names other files", "pointcloud", lambda: b'{"asset": {"version": "2.0"}}', "send a PLY"),
    Row("a picture sent as a 3D file", "pointcloud", lambda: saved(photo(), "PNG"), "no 3D file"),
)
ROWS = tuple(row for row in ALL if row.modality in builtin())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, shared_store: Path) -> Iterator[Running]:
    """A pico LLM with the real readers and encoders, and random connectors."""
    store = Store(tmp_path_factory.mktemp("media") / "store")
    pico.backbone(store.assets / "pico")
    load(shared_store)
    for path in (shared_store / "assets").glob("efficientnet-lite2-????????"):
        (store.assets / path.name).symlink_to(path.resolve())
    checkpoint = pico.checkpoint(store, 1, tuple(name for name in SENSES if name in builtin()))
    with serve(store, checkpoint.id) as running:
        yield running


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_file_is_answered_or_refused_with_a_cure(server: Running, row: Row) -> None:
    sent = base64.b64encode(row.data()).decode()
    answer = server.ask({row.modality: sent}, {"text": "What is this?"}, max_tokens=3)
    if row.refused is None:
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["media_tokens"][row.modality] > 0
    else:
        assert answer.status_code == 422
        message = answer.json()["error"]["message"]
        assert row.refused in message
        assert "/" not in message
        assert "\n" not in message


def test_a_video_goes_through_the_chat_format_as_a_data_uri(server: Running) -> None:
    url = "data:video/mp4;base64," + base64.b64encode(film(sound=True)).decode()
    content = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": "What happens?"}]
    asked = {"model": "polymera", "messages": [{"role": "user", "content": content}], "max_tokens": 3}
    answer = server.http.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["prompt_tokens"] > 17


def test_one_prompt_takes_files_of_all_kinds_in_any_order(server: Running) -> None:
    first = {row.modality: row for row in reversed(ROWS) if row.refused is None}
    parts = [{name: base64.b64encode(row.data()).decode()} for name, row in first.items()]
    for order in (parts, parts[::-1]):
        answer = server.ask(*order, {"text": "What do they share?"}, max_tokens=3)
        assert answer.status_code == 200, answer.text
        assert set(answer.json()["usage"]["media_tokens"]) == set(first)
