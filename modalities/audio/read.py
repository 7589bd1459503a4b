"""The bytes of a sound file -> mono at 16 kHz, (N,) from -1 to 1. FFmpeg, inside PyAV, knows the formats.

Of a long sound the first LONGEST seconds are heard, and no more of it is decoded. Of a film the sound track is.

Shapes: C = channels, N = samples at 16 kHz.
"""

import io
from collections.abc import Iterator

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.container import InputContainer

from modalities.audio import MAX_BYTES
from modalities.audio.encoder import RATE, WINDOW, Wave
from modalities.base import BadMedia

LONGEST = 8 * WINDOW  # samples: 30.7 seconds
KNOWN = "WAV, FLAC, MP3, OGG or M4A"
# Of FFmpeg's formats those that hold sound by themselves: none that leads to other files or addresses.
FORMATS = "aac,aiff,au,avi,caf,flac,matroska,webm,mov,mp4,m4a,3gp,mp3,ogg,w64,wav"
ALLOWED = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
RATES = range(1_000, 1_000_000)  # samples a second that are believed


def read(data: bytes) -> Wave:
    """The sound in a file's bytes, all channels in one, resampled. Raises BadMedia."""
    if len(data) > MAX_BYTES:
        raise BadMedia(f"The sound file is larger than {MAX_BYTES // 10**6} MB; send a shorter one, or an MP3.")
    if not data:
        raise BadMedia(f"The file is empty; send a {KNOWN} file.")
    try:
        with av.open(io.BytesIO(data), "r", options=ALLOWED) as container:
            wave = _first(_decoded(container))
    except BadMedia:
        raise
    except (av.FFmpegError, ValueError, OverflowError) as error:  # a stranger's file may break any parser
        raise BadMedia(f"The file is no sound file that can be read, or broken; send a {KNOWN} file.") from error
    if not len(wave):
        raise BadMedia(f"The file holds no sound that can be read; save it again, as {KNOWN}.")
    if not np.isfinite(wave).all():
        raise BadMedia("The sound holds samples that are no numbers (NaN or infinite); save it again, with 16 bits.")
    return wave


def _decoded(container: InputContainer) -> Iterator[Wave]:
    """Pieces of the first sound track, as long as it can be decoded. Raises BadMedia."""
    if not container.streams.audio:
        raise BadMedia(f"The file has no sound track; send a {KNOWN} file.")
    track = container.streams.audio[0]
    if track.rate not in RATES:
        raise BadMedia(f"The file claims {track.rate} samples a second; save it again, with 44100.")
    resampler = AudioResampler("fltp", rate=RATE)
    try:
        for frame in container.decode(track):
            for piece in resampler.resample(frame):
                yield piece.to_ndarray().mean(0)  # (C, N) -> (N,)
    except av.FFmpegError:
        pass  # a file that was cut off is heard as far as it goes
    for piece in resampler.resample(None):
        yield piece.to_ndarray().mean(0)  # (C, N) -> (N,)


def _first(pieces: Iterator[Wave]) -> Wave:
    """The pieces joined, up to LONGEST."""
    joined, length = [np.zeros(0, np.float32)], 0
    for piece in pieces:
        joined.append(piece)
        length += len(piece)
        if length >= LONGEST:
            break
    return np.concatenate(joined)[:LONGEST]
