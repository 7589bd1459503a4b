"""The bytes of a picture file -> RGB pixels, or a reason why not. It knows no encoder.

Shapes: H, W = height and width.
"""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from modalities.base import BadMedia

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_PIXELS = 50_000_000  # checked on the header, before anything is decoded
ENOUGH = 1024  # a JPEG may be decoded smaller than it is, but not below this side


def read(data: bytes) -> np.ndarray:
    """Upright RGB pixels (H, W, 3), uint8; transparency on white, the first frame of an animation. Raises BadMedia."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters about odd files is checked here
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image)
                image.draft("RGB", (ENOUGH, ENOUGH))
                return np.asarray(_on_white(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError as error:
        raise BadMedia(f"This is no picture that can be read; send {', '.join(FORMATS)}.") from error
    except Image.DecompressionBombError as error:
        raise BadMedia(_too_big("this one has far more")) from error
    except BadMedia:
        raise
    except Exception as error:  # parsers of broken files raise anything
        raise BadMedia("The picture is damaged or cut short; save it again and send the whole file.") from error


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise BadMedia(_too_big(f"this one is {image.width} x {image.height}"))


def _too_big(finding: str) -> str:
    return f"A picture may have {MAX_PIXELS // 1_000_000} megapixels, {finding}; make it smaller."


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # one deep channel, which a conversion would cut off at 255
        image = Image.fromarray(_shallow(np.asarray(image, np.float64), 65535 if image.mode.startswith("I;16") else 1))
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    white.alpha_composite(layer)
    return white.convert("RGB")


def _shallow(values: NDArray[np.float64], white: int) -> NDArray[np.uint8]:
    """A channel of 16 or 32 bits, or of floating point, as 8 bits; `white` is the least that white may be."""
    brightest = float(np.nan_to_num(values).max(initial=0))
    top = next((top for top in (white, 255, 65535) if brightest <= top >= white), brightest)
    return np.nan_to_num(values * (255 / top)).clip(0, 255).round().astype(np.uint8)
