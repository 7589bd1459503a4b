"""Sound files as tools make them: one tone in any container, written by FFmpeg."""

import io
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray


def tone(rate: int, pitch: float = 440.0, seconds: float = 1.0) -> NDArray[np.float32]:
    """A sine (N,) at half of full scale."""
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def encoded(
    container: str, codec: str, rate: int = 44_100, layout: str = "stereo", *, wave: NDArray[np.float32] | None = None
) -> bytes:
    """A sound, the same on each channel, as the bytes of a file."""
    wave = tone(rate) if wave is None else wave
    stream = io.BytesIO()
    with av.open(stream, "w", format=container) as file:
        track: Any = file.add_stream(codec, rate=rate, layout=layout, options={"strict": "experimental"})  # Vorbis
        channels = len(av.AudioLayout(layout).channels)
        frame = av.AudioFrame.from_ndarray(np.tile(wave, (channels, 1)), format="fltp", layout=layout)
        frame.rate, frame.pts = rate, 0
        fitting = av.AudioResampler(track.format.name, layout, rate, frame_size=track.frame_size or 0)
        for piece in [*fitting.resample(frame), *fitting.resample(None)]:
            file.mux(track.encode(piece))
        file.mux(track.encode(None))
    return stream.getvalue()


def film(*, sound: bool) -> bytes:
    """An MP4 of eight small pictures, with a tone or without."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as file:
        pictures: Any = file.add_stream("mpeg4", rate=8, width=64, height=64, pix_fmt="yuv420p")
        track: Any = file.add_stream("aac", rate=44_100, layout="stereo") if sound else None
        for shade in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 30 * shade, np.uint8), format="rgb24")
            file.mux(pictures.encode(frame))
        file.mux(pictures.encode(None))
        if track is not None:
            heard = av.AudioFrame.from_ndarray(np.tile(tone(44_100), (2, 1)), format="fltp", layout="stereo")
            heard.rate, heard.pts = 44_100, 0
            fitting = av.AudioResampler("fltp", "stereo", 44_100, frame_size=track.frame_size)
            for piece in [*fitting.resample(heard), *fitting.resample(None)]:
                file.mux(track.encode(piece))
            file.mux(track.encode(None))
    return stream.getvalue()
