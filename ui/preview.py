"""What the page can show of a file: pictures a browser can draw, 3D files as GLB, films it can play, sound as it is.

Chosen by the top level of the media type alone. A file that cannot be read is no error here: the page shows its
name, and the server says what is wrong with it.
"""

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps

from ui.film import playable
from ui.solid import to_glb

SIDE = 1024  # pixels; a preview needs no more
PIXELS = 100_000_000  # a picture that claims more is left to the server


def preview(path: Path, display: str) -> Path | None:
    """A file that the page can show, or None when there is nothing to see."""
    match display:
        case "image":
            return _draw(_picture, path, ".webp")
        case "model":
            return _draw(_model, path, ".glb")
        case "video":
            return _draw(_film, path, ".mp4")
        case "audio":
            return path
    return None


def _draw(draw: Callable[[Path], bytes | None], path: Path, suffix: str) -> Path | None:
    """The drawing, put beside the upload so that it goes when the upload goes; the upload where none is needed."""
    try:
        drawn = draw(path)
    except Exception:  # a stranger's file may break any reader in any way, and this is only its preview
        return None
    if drawn is None:
        return path
    target = path.with_name(f"{path.name}.preview{suffix}")
    target.write_bytes(drawn)
    return target


def _picture(path: Path) -> bytes:
    """Upright, no larger than the page needs, in a format that every browser draws."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        if image.width * image.height > PIXELS:
            raise ValueError("Too large to preview.")
        image.thumbnail((SIDE, SIDE))
        upright = ImageOps.exif_transpose(image)
        upright.convert("RGBA" if upright.has_transparency_data else "RGB").save(buffer, "WEBP", quality=90)
    return buffer.getvalue()


def _model(path: Path) -> bytes:
    return to_glb(path.read_bytes(), path.suffix[1:].lower())


def _film(path: Path) -> bytes | None:
    return playable(path.read_bytes(), path.suffix.lower())
