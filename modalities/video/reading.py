"""The bytes of a video file -> four upright RGB frames, evenly spread, or a reason why not. It knows no encoder.

FFmpeg's libraries (PyAV) read the file. Frames are looked at as they come and few are kept, so that a long video takes
no more memory than a short one; of a very long one only the frames that stand for themselves are decoded.

Shapes: H, W = height and width.
"""

import io
from collections.abc import Iterator

import av
import numpy as np
from numpy.typing import NDArray

from modalities.base import BadMedia

FRAMES = 4  # evenly spread (paper, Appendix C.1)
KNOWN = "MP4, MOV, WEBM, MKV, AVI or GIF"
DEMUXERS = "mov,mp4,matroska,webm,avi,gif"  # no playlist: such a file could name other files
MAX_SECONDS = 600
MAX_PIXELS = 4096 * 2304  # of one frame
BUDGET = 5_000_000_000  # pixels to decode, about a minute of 1920 x 1080
ENOUGH = 512  # a frame is kept no larger than this
KEPT = 64  # frames at most while it is not yet known how many there are
MANY = 900  # frames from which on only key frames are decoded, if there are some

Picture = NDArray[np.uint8]  # (H, W, 3)


def read(data: bytes) -> list[Picture]:
    """Four RGB frames (H, W, 3); one that stands still is four times itself. Raises BadMedia."""
    try:
        return _evenly(data, keys=True) or _evenly(data, keys=False)
    except (av.error.FFmpegError, OverflowError, ValueError) as error:
        if isinstance(error, BadMedia):
            raise
        raise BadMedia(
            f"This is no video that can be read, or it is damaged or cut short; send the whole file, as {KNOWN}."
        ) from error


def _evenly(data: bytes, *, keys: bool) -> list[Picture]:
    """The four frames; with `keys` of a long video only, chosen among its key frames: none if those are too few."""
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": ""}
    with av.open(io.BytesIO(data), "r", options=options) as container:
        if not container.streams.video:
            raise BadMedia("The file has no pictures, only sound or text; send a video.")
        track = container.streams.video[0]
        _check(container, track)
        if keys:
            if _expected(container, track) <= MANY:
                return []
            track.codec_context.skip_frame = "NONKEY"
        track.thread_type = "AUTO"
        kept: list[Picture] = []
        count, stride = 0, 1
        for frame in _decoded(container, track):
            if count % stride == 0:
                if len(kept) == KEPT:
                    kept, stride = kept[::2], 2 * stride
                if count % stride == 0:
                    kept.append(_upright(frame))
            count += 1
    if keys and count < FRAMES:
        return []
    if not kept:
        raise BadMedia("The video has no frame that can be shown; save it again, as MP4.")
    places = (int((place + 0.5) * count / FRAMES) // stride for place in range(FRAMES))
    return [kept[min(place, len(kept) - 1)] for place in places]


def _decoded(container: av.container.InputContainer, track: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The frames one after the other, as long as they are not too much work."""
    pixels = 0
    for frame in container.decode(track):
        _fits(frame.width, frame.height)
        pixels += frame.width * frame.height
        if pixels > BUDGET or (frame.time or 0) > MAX_SECONDS + (track.start_time or 0) * (track.time_base or 0):
            raise BadMedia("The video is too long for its size; send a shorter or a smaller one.")
        yield frame


def _check(container: av.container.InputContainer, track: av.VideoStream) -> None:
    """Refuse by the headers what is too long or too large."""
    seconds = (container.duration or 0) / av.time_base
    if seconds > MAX_SECONDS:
        raise BadMedia(f"A video may last {MAX_SECONDS // 60} minutes, this one lasts {seconds / 60:.0f}; cut it.")
    _fits(track.codec_context.width, track.codec_context.height)


def _fits(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadMedia(f"A video's frames may be 4096 x 2304 at most, these are {width} x {height}; make it smaller.")


def _expected(container: av.container.InputContainer, track: av.VideoStream) -> float:
    """How many frames there seem to be."""
    return track.frames or float(track.average_rate or 25) * (container.duration or 0) / av.time_base


def _upright(frame: av.VideoFrame) -> Picture:
    """RGB, no larger than needed, turned as the camera was held."""
    scale = min(1.0, ENOUGH / max(frame.width, frame.height))
    size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
    picture = frame.reformat(width=size[0], height=size[1], format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))
