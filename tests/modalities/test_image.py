"""Reading pictures of all sorts, and encoding them with the real weights."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modalities.base import BadMedia, find
from modalities.image import MODALITY
from modalities.image.encoder import GRID, TOKENS, ImageEncoder, lay_out, load
from modalities.image.network import SIDE, WIDTH, EfficientNetLite2
from modalities.image.reading import read

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, suffix: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, suffix, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds hardly anything."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def photo(width: int = 64, height: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_is_read_as_rgb(suffix: str) -> None:
    pixels = read(encoded(Image.new("RGB", (30, 20), RED), suffix))
    assert pixels.shape == (20, 30, 3)
    assert pixels.dtype == np.uint8
    assert abs(pixels.astype(int) - RED).max() < 4


def test_a_photo_taken_upright_is_turned_upright() -> None:
    image = Image.new("RGB", (40, 20), RED)
    image.paste(GREEN, (0, 0, 20, 20))
    tag = Image.Exif()
    tag[0x0112] = 6  # the camera was turned: the left of the file is the top of the picture
    pixels = read(encoded(image, "PNG", exif=tag))
    assert pixels.shape == (40, 20, 3)
    assert tuple(pixels[5, 10]) == GREEN
    assert tuple(pixels[35, 10]) == RED


def test_transparency_is_shown_on_white() -> None:
    image = Image.new("RGBA", (10, 10), (0, 0, 255, 0))
    image.paste((0, 0, 255, 255), (0, 0, 5, 10))
    pixels = read(encoded(image, "PNG"))
    assert tuple(pixels[5, 2]) == BLUE
    assert tuple(pixels[5, 8]) == WHITE


def test_a_palette_with_a_transparent_colour_is_shown_on_white() -> None:
    image = Image.new("P", (10, 10), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(1, (0, 0, 5, 10))
    pixels = read(encoded(image, "PNG", transparency=0))
    assert tuple(pixels[5, 2]) == RED
    assert tuple(pixels[5, 8]) == WHITE


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "CMYK"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    image = Image.new("I;16", (8, 8)) if mode == "I;16" else photo(8, 8).convert(mode)
    assert read(encoded(image, "JPEG" if mode == "CMYK" else "PNG")).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("suffix", "values"),
    [
        ("PNG", np.array([0, 32768, 65535], np.uint16)),
        ("TIFF", np.array([0, 32768, 65535], np.int32)),
        ("TIFF", np.array([0, 128, 255], np.float32)),
        ("TIFF", np.array([0, 0.5, 1], np.float32)),
    ],
)
def test_a_deep_channel_keeps_its_greys(suffix: str, values: np.ndarray) -> None:
    pixels = read(encoded(Image.fromarray(np.tile(values, (4, 1))), suffix))
    np.testing.assert_allclose(pixels[0, :, 0], (0, 128, 255), atol=1)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (BLUE, RED)]
    pixels = read(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert tuple(pixels[4, 4]) == BLUE


@pytest.mark.parametrize(("width", "height"), [(20_000, 10_000), (9_000, 6_000), (65_535, 65_535)])
def test_a_decompression_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    with pytest.raises(BadMedia, match="50 megapixels.*make it smaller"):
        read(png_header(width, height))


def test_a_text_file_named_png_is_refused() -> None:
    with pytest.raises(BadMedia, match="no picture that can be read; send PNG, JPEG, WEBP, GIF, BMP"):
        read(b"This is not a picture.\n" * 20)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(BadMedia, match="no picture"):
        read(b"")


def test_a_format_that_is_not_on_the_list_is_refused() -> None:
    with pytest.raises(BadMedia, match="no picture"):
        read(encoded(photo(), "PPM"))


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_truncated_file_is_refused(suffix: str) -> None:
    data = encoded(photo(), suffix)
    with pytest.raises(BadMedia, match="damaged or cut short|no picture"):
        read(data[: len(data) // 2])


def test_a_damaged_file_never_escapes_as_another_error() -> None:
    random = np.random.default_rng(0)
    for suffix in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        whole = encoded(photo(), suffix)
        for _ in range(60):
            data = bytearray(whole)
            for place in random.integers(0, len(data), 8):
                data[place] = random.integers(0, 256)
            try:
                assert read(bytes(data)).ndim == 3
            except BadMedia:
                continue


def test_a_huge_jpeg_is_decoded_smaller() -> None:
    pixels = read(encoded(Image.new("RGB", (6000, 4500), GREEN), "JPEG"))
    assert 1024 <= max(pixels.shape) <= 2048
    assert abs(pixels.shape[1] / pixels.shape[0] - 6000 / 4500) < 0.01


def test_a_picture_is_laid_out_whole_on_a_white_square() -> None:
    square = lay_out(np.zeros((100, 400, 3), np.uint8))  # (C, H, W)
    assert square.shape == (3, SIDE, SIDE)
    assert square[0, SIDE // 2].unique().tolist() == [-127 / 128]
    assert square[0, 0].unique().tolist() == [1.0]
    assert lay_out(np.zeros((1, 3000, 3), np.uint8)).shape == (3, SIDE, SIDE)


def test_the_network_is_the_published_one() -> None:
    """Lite2 has 6,092,072 parameters, 1,281,000 of them in the classifier that is left out."""
    network = EfficientNetLite2()
    assert sum(p.numel() for p in network.parameters()) == 4_811_072
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, SIDE, SIDE)).shape == (1, WIDTH, 9, 9)


@pytest.fixture(scope="module")
def encoder(shared_store: Path) -> ImageEncoder:
    return load(shared_store)


def test_a_picture_becomes_sixteen_tokens_whatever_its_neighbours_in_the_batch(encoder: ImageEncoder) -> None:
    pictures = [np.asarray(photo(width, 50)) for width in (20, 50, 300)]
    together = encoder(pictures)
    assert [tokens.shape for tokens in together] == [(TOKENS, encoder.width)] * 3
    assert together[0].dtype == torch.float32
    for picture, tokens in zip(pictures, together, strict=True):
        torch.testing.assert_close(encoder([picture])[0], tokens, atol=1e-4, rtol=1e-4)
    assert torch.equal(encoder(pictures)[2], together[2])


def test_tokens_keep_the_place_of_what_they_show(encoder: ImageEncoder) -> None:
    picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
    empty = encoder([picture])[0][1:].view(GRID, GRID, -1)
    picture[20:100, 170:250] = np.asarray(photo(80, 80))
    change = (encoder([picture])[0][1:].view(GRID, GRID, -1) - empty).norm(dim=-1)  # (GRID, GRID)
    assert divmod(int(change.argmax()), GRID) in {(row, column) for row in (0, 1) for column in (2, 3)}


def test_the_weights_see_what_is_in_a_picture(encoder: ImageEncoder, shared_store: Path) -> None:
    """The same thing in two art styles is nearer than another thing in the same style: trained weights, real art."""
    from modalities.image.pictures import Art, Picture, Placed

    art = Art(shared_store)

    def features(style: str, label: str) -> torch.Tensor:
        picture = Picture(style, WHITE, (Placed(label, 130, 130, 220),))
        tokens: torch.Tensor = encoder([np.asarray(art.draw(picture))])[0]  # (T, F)
        return tokens.mean(0)

    labels = ("bicycle", "strawberry", "elephant", "guitar")
    known = torch.stack([features("noto", label) for label in labels])
    seen = torch.stack([features("twemoji", label) for label in labels])
    seen, known = seen - seen.mean(0), known - known.mean(0)
    nearest = torch.nn.functional.cosine_similarity(seen[:, None], known[None], dim=-1).argmax(1)
    assert nearest.tolist() == [0, 1, 2, 3]


def test_the_modality_is_found_by_name_and_joins_encoder_to_connector(encoder: ImageEncoder) -> None:
    assert find("image") is MODALITY
    connector = MODALITY.connector(encoder.width, 32)
    assert connector(torch.zeros(2, TOKENS, encoder.width)).shape == (2, TOKENS, 32)
    assert MODALITY.read(encoded(photo(), "PNG")).shape == (48, 64, 3)
    assert encoder.identity.startswith("efficientnet-lite2-")
