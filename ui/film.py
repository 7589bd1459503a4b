"""Any film -> one that a browser plays: itself where it can, else a small MP4 of its beginning. It knows no page.

Shapes: H, W = height and width.
"""

import io

import av
import numpy as np

PLAYED = {"h264", "vp8", "vp9", "av1"}  # in MP4 and WebM, by every browser that this page is made for
CONTAINERS = ("mp4", "webm")
DEMUXERS = "mov,mp4,matroska,webm,avi"  # no playlist: such a file could name other files
SIDE = 640  # pixels at most of a film that is made anew
LONGEST = 30  # seconds of it


def playable(data: bytes, suffix: str) -> bytes | None:
    """The bytes of an MP4 to be shown instead, without sound; None when the film can be shown as it is."""
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": ""}
    with av.open(io.BytesIO(data), "r", options=options) as source:
        track = source.streams.video[0]
        if suffix.lstrip(".") in CONTAINERS and track.codec_context.name in PLAYED:
            return None
        return _remade(source, track)


def _remade(source: av.container.InputContainer, track: av.VideoStream) -> bytes:
    """The beginning, upright, with even sides no longer than SIDE."""
    stream = io.BytesIO()
    rate = round(track.average_rate or 25)
    with av.open(stream, "w", format="mp4") as target:
        made = target.add_stream("libx264", rate=rate, options={"preset": "veryfast"})
        made.pix_fmt = "yuv420p"
        for number, frame in enumerate(source.decode(track)):
            if number >= LONGEST * rate:
                break
            scale = min(1.0, SIDE / max(frame.width, frame.height))
            width, height = (max(2, round(side * scale) // 2 * 2) for side in (frame.width, frame.height))
            picture = frame.reformat(width, height, "rgb24").to_ndarray()  # (H, W, 3)
            turned = np.rot90(picture, round(frame.rotation / 90))
            if number == 0:
                made.height, made.width = turned.shape[:2]
            target.mux(made.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(turned), "rgb24")))
        target.mux(made.encode())
    return stream.getvalue()
