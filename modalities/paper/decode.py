"""Sounds as the paper's encoders take them: mono at 16 kHz. FFmpeg's libraries (PyAV) read them. It knows no encoder.

Shapes: N = samples.
"""

import io

import av
import numpy as np
from numpy.typing import NDArray

from modalities.base import BadMedia

RATE = 16_000
LONGEST = 30  # seconds of a sound; the rest is not heard
DEMUXERS = "wav,mp3,flac,ogg,mov,mp4,matroska,webm,aac,aiff"  # no playlist: such a file could name other files

Wave = NDArray[np.float32]


def wave(data: bytes) -> Wave:
    """A sound file's bytes -> (N,) from -1 to 1, at 16 kHz. Raises BadMedia."""
    try:
        samples = _decoded(data)
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, BadMedia):
            raise
        raise BadMedia("The sound is broken or of a kind that cannot be read; save it again, as WAV or MP3.") from error
    if len(samples) == 0 or not np.isfinite(samples).all():
        raise BadMedia("The sound is empty or damaged; save it again, as WAV with 16 bits.")
    return samples


def _decoded(data: bytes) -> Wave:
    """The first LONGEST seconds: all channels' mean, resampled."""
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": ""}
    with av.open(io.BytesIO(data), "r", options=options) as container:
        if not container.streams.audio:
            raise BadMedia("The file has no sound; send one that has.")
        resampler = av.AudioResampler(format="fltp", rate=RATE)  # its own mono would be louder than the mean
        heard: list[Wave] = []
        count = 0
        for frame in container.decode(container.streams.audio[0]):
            for piece in resampler.resample(frame):
                heard.append(piece.to_ndarray().mean(0))
                count += piece.samples
            if count >= RATE * LONGEST:
                break
        else:
            heard += [piece.to_ndarray().mean(0) for piece in resampler.resample(None)]
    return np.concatenate(heard, dtype=np.float32)[: RATE * LONGEST] if heard else np.empty(0, np.float32)
