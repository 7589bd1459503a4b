"""Films made with real tools: a red that grows from frame to frame under a green stripe, in any container."""

import io
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

CODECS = {
    "mp4": ("libx264", "yuv420p"),
    "mov": ("libx264", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "matroska": ("ffv1", "bgr0"),
    "avi": ("mpeg4", "yuv420p"),
    "gif": ("gif", "rgb8"),
}


def picture(place: int, count: int, size: tuple[int, int] = (96, 64)) -> NDArray[np.uint8]:
    """Frame `place` of `count`, (H, W, 3)."""
    rgb = np.zeros((size[1], size[0], 3), np.uint8)
    rgb[..., 0] = 255 * place // count
    rgb[: size[1] // 4] = (0, 255, 0)
    return rgb


def film(
    container: str = "mp4",
    count: int = 8,
    *,
    size: tuple[int, int] = (96, 64),
    rotation: int = 0,
    sound: bool = False,
    rate: int = 8,
    **options: Any,
) -> bytes:
    """A film's bytes; `rotation` in degrees counter-clockwise, as a phone says how it was held."""
    codec, pixels = CODECS[container]
    stream = io.BytesIO()
    with av.open(stream, "w", format=container) as file:
        track: Any = file.add_stream(codec, rate=rate, options=options)
        track.width, track.height, track.pix_fmt = *size, pixels
        if rotation:
            track.set_display_rotation(rotation)
        noise: Any = file.add_stream("aac", rate=44100, layout="stereo") if sound else None
        for place in range(count):
            file.mux(track.encode(av.VideoFrame.from_ndarray(picture(place, count, size), "rgb24")))
        file.mux(track.encode())
        if sound:
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 44100), np.float32), "fltp", "stereo")
            frame.sample_rate = 44100
            file.mux(noise.encode(frame))
            file.mux(noise.encode())
    return stream.getvalue()


def animated(kind: str, count: int = 8) -> bytes:
    """The same film as an animated picture (GIF, WEBP or PNG)."""
    pictures = [Image.fromarray(picture(place, count)) for place in range(count)]
    stream = io.BytesIO()
    pictures[0].save(stream, kind, save_all=True, append_images=pictures[1:], duration=125, loop=0)
    return stream.getvalue()
