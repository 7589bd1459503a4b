"""A clip: a unit that does one thing on a piece of ground, drawn frame by frame and saved as MP4.

The same packages give the same bytes: drawing and colour conversion are arithmetic on integers, and x264 runs on one
thread with a fixed quantiser. It knows where pictures lie, no question and no split.

Shapes: N = frames, H, W = height and width.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 224  # of a frame, in pixels
FRAMES, RATE = 8, 8  # of a clip, and a second
TILE = 72  # the side of a picture of ground
PACE = 5  # pixels of ground that one who runs or flies passes from frame to frame
GROUNDS = {
    "grass": "grass/green.png",
    "dry grass": "grass/dry.png",
    "dirt": "flat/dirt.png",
    "road": "flat/road.png",
    "sand": "sand/desert.png",
    "snow": "frozen/snow.png",
    "ice": "frozen/ice.png",
    "cave floor": "cave/floor.png",
    "swamp": "swamp/water-tile.png",
    "water": "water/ocean-tile.png",
    "stone floor": "interior/stone-regular.png",
}
TEAMS = {
    "red": (255, 0, 0),
    "blue": (46, 65, 155),
    "green": (98, 182, 100),
    "purple": (147, 0, 157),
    "orange": (255, 126, 0),
    "white": (225, 225, 225),
    "brown": (148, 80, 39),
    "teal": (48, 203, 192),
}
# What Wesnoth recolours: shades of magenta, from this one darker and lighter.
MIDDLE = 0xF49AC1
MAGENTA = (
    *(MIDDLE, 0x3F0016, 0x55002A, 0x690039, 0x7B0045, 0x8C0051, 0x9E005D, 0xB10069, 0xC30074, 0xD6007F),
    *(0xEC008C, 0xEE3D96, 0xEF5BA1, 0xF172AC, 0xF287B6, 0xF6ADCD, 0xF8C1D9, 0xFAD5E5, 0xFDE9F1),
)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """All that a clip is drawn from."""

    frames: tuple[Path, ...]
    ground: Path
    team: str
    mirrored: bool
    moving: bool
    margin: int  # pixels of ground around the unit
    offset: tuple[int, int]  # where the ground begins


def draw(clip: Clip) -> list[Image.Image]:
    """The frames, RGB, SIDE by SIDE."""
    pictures = [_picture(clip.frames[place * len(clip.frames) // FRAMES], clip) for place in range(FRAMES)]
    wide, high = (max(picture.size[axis] for picture in pictures) for axis in (0, 1))
    layers = []
    for picture in pictures:  # the game puts all of them around one point
        layer = Image.new("RGBA", (wide, high))
        layer.paste(picture, ((wide - picture.width) // 2, (high - picture.height) // 2))
        layers.append(layer)
    boxes = [box for layer in layers if (box := layer.getchannel("A").getbbox())]
    left, top = (min(box[side] for box in boxes) for side in (0, 1))
    right, bottom = (max(box[side] for box in boxes) for side in (2, 3))
    side = max(right - left, bottom - top) + 2 * clip.margin
    corner = (side - (right - left)) // 2 - left, (side - (bottom - top)) // 2 - top
    passed = (PACE if clip.mirrored else -PACE) if clip.moving else 0
    drawn = []
    for place, layer in enumerate(layers):
        canvas = _ground(clip.ground, side, clip.offset[0] + place * passed, clip.offset[1])
        canvas.alpha_composite(layer.crop((-corner[0], -corner[1], side - corner[0], side - corner[1])))
        drawn.append(canvas.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return drawn


def encode(frames: list[Image.Image], rate: int = RATE) -> bytes:
    """An MP4 file (H.264) of RGB frames with even sides."""
    stream = io.BytesIO()
    options = {"preset": "ultrafast", "qp": "20", "threads": "1", "fflags": "+bitexact"}
    with av.open(stream, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        track = container.add_stream("libx264", rate=rate, options=options)
        track.width, track.height = frames[0].size
        track.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(track.encode(av.VideoFrame.from_ndarray(_planes(np.asarray(frame)), "yuv420p")))
        container.mux(track.encode())
    return stream.getvalue()


def _planes(rgb: Pixels) -> Pixels:
    """RGB (H, W, 3) -> YUV 4:2:0 as FFmpeg lays it out, (H * 3 / 2, W), by BT.601 in integers."""
    red, green, blue = (rgb[..., channel].astype(np.int32) for channel in range(3))
    luma = ((66 * red + 129 * green + 25 * blue + 128) >> 8) + 16
    pink = ((-38 * red - 74 * green + 112 * blue + 128) >> 8) + 128
    warm = ((112 * red - 94 * green - 18 * blue + 128) >> 8) + 128
    planes = [luma.ravel()]
    for plane in (pink, warm):
        planes.append(((plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2] + 2) >> 2).ravel())
    flat: Pixels = np.concatenate(planes).astype(np.uint8)
    return flat.reshape(-1, rgb.shape[1])


def _picture(path: Path, clip: Clip) -> Image.Image:
    with Image.open(path) as image:
        picture = Image.fromarray(_recoloured(np.array(image.convert("RGBA")), TEAMS[clip.team]))
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if clip.mirrored else picture


def _recoloured(rgba: Pixels, team: tuple[int, int, int]) -> Pixels:
    """Magenta becomes the team's colour: darker shades go towards black, lighter ones towards white, as in the game."""
    keys = (rgba[..., 0].astype(np.int32) << 16) | (rgba[..., 1].astype(np.int32) << 8) | rgba[..., 2]
    middle = _brightness(MIDDLE)
    out = rgba.copy()
    for shade in MAGENTA:
        bright = _brightness(shade)
        if bright <= middle:
            colour = [value * bright // middle for value in team]
        else:
            colour = [255 - (255 - value) * (255 - bright) // (255 - middle) for value in team]
        out[keys == shade, :3] = colour
    return out


def _brightness(shade: int) -> int:
    return ((shade >> 16) + (shade >> 8 & 255) + (shade & 255)) // 3


def _ground(path: Path, side: int, x: int, y: int) -> Image.Image:
    """A square of ground whose upper left corner lies at x, y of an endless floor."""
    tile = _tile(path)
    rows, columns = (np.arange(side) + y) % len(tile), (np.arange(side) + x) % tile.shape[1]
    return Image.fromarray(tile[rows][:, columns])


@lru_cache(16)
def _tile(path: Path) -> Pixels:
    """Ground that can be laid side by side: the game's hexagons, whose corners are empty, as it lays them."""
    with Image.open(path) as image:
        hexagon = image.convert("RGBA")
    across, down = TILE * 3 // 4 * 2, TILE
    floor = Image.new("RGBA", (across, down), (0, 0, 0, 255))
    for column in range(-1, 3):
        for row in range(-1, 2):
            at = column * TILE * 3 // 4, row * TILE + (column % 2) * TILE // 2
            floor.paste(hexagon, at, hexagon)
    return np.array(floor)
