"""Sounds and videos as the paper's encoders take them: mono at 16 kHz, and four frames.

WAV and animated pictures are read here; every other format by the program ffmpeg. It knows no encoder.

Shapes: N = samples, H, W = height and width.
"""

import io
import math
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from scipy.io import wavfile
from scipy.signal import resample_poly

from modalities.base import BadMedia

RATE = 16_000
LONGEST = 30  # seconds of a sound; the rest is not heard
FRAMES = 4  # of a video, evenly spread (paper, Appendix C.1)
DECODED = 4, 120, 640  # frames a second, seconds, and width at most, that ffmpeg hands over to choose from

Wave = NDArray[np.float32]
Picture = NDArray[np.uint8]


def wave(data: bytes) -> Wave:
    """A sound file's bytes -> (N,) from -1 to 1, at 16 kHz. Raises BadMedia."""
    if data[:4] != b"RIFF":
        pcm = _ffmpeg(data, "sound", "-ac", "1", "-ar", str(RATE), "-t", str(LONGEST), "-f", "s16le", "-")
        samples, rate = (np.frombuffer(pcm, "<i2") / 2**15).astype(np.float32), RATE
    else:
        samples, rate = _wav(data)
    if len(samples) == 0 or not np.isfinite(samples).all():
        raise BadMedia("The sound is empty or damaged; save it again, as WAV with 16 bits.")
    common = math.gcd(rate, RATE)
    heard = samples[: rate * LONGEST].astype(np.float32)
    return np.asarray(heard if rate == RATE else resample_poly(heard, RATE // common, rate // common), np.float32)


def frames(data: bytes) -> list[Picture]:
    """A video file's bytes -> four RGB frames (H, W, 3), evenly spread. Raises BadMedia."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            found: Sequence[Any] = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    except (OSError, SyntaxError, ValueError):  # no picture, so a video
        found = _decoded(data)
    if not found:
        raise BadMedia("The video has no frame that can be read; save it again, as MP4.")
    chosen = [int((place + 0.5) * len(found) / FRAMES) for place in range(FRAMES)]
    return [np.asarray(found[index]) for index in chosen]


def _wav(data: bytes) -> tuple[Wave, int]:
    """The samples (N,) of all channels' mean, and their rate."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of chunks that say who made the file
            rate, samples = wavfile.read(io.BytesIO(data))
    except Exception as error:  # parsers of broken files raise anything
        raise BadMedia("The WAV file is broken or cut off; save it again, with 16 bits.") from error
    scale, offset = {"uint8": (128.0, 128.0), "int16": (2.0**15, 0.0), "int32": (2.0**31, 0.0)}.get(
        samples.dtype.name, (1.0, 0.0)
    )
    values = (samples.astype(np.float64) - offset) / scale
    return (values.mean(1) if values.ndim == 2 else values).astype(np.float32), int(rate)


def _decoded(data: bytes) -> list[Any]:
    """Frames at a few a second, as pictures one after another."""
    rate, longest, width = DECODED
    scaled = f"fps={rate},scale='min({width},iw)':-2"
    stream = io.BytesIO(
        _ffmpeg(data, "video", "-t", str(longest), "-vf", scaled, "-f", "image2pipe", "-c:v", "ppm", "-")
    )
    found = []
    while stream.tell() < len(stream.getbuffer()):
        kind, sides, _ = (stream.readline() for _ in range(3))
        if kind.strip() != b"P6":
            break
        wide, high = map(int, sides.split())
        found.append(Image.frombytes("RGB", (wide, high), stream.read(3 * wide * high)))
    return found


def _ffmpeg(data: bytes, kind: str, *options: str) -> bytes:
    program = shutil.which("ffmpeg")
    if program is None:
        raise BadMedia(f"This {kind} needs the program ffmpeg to be read; install it, or send a WAV or GIF file.")
    with tempfile.NamedTemporaryFile() as file:  # most formats cannot be read from a pipe
        Path(file.name).write_bytes(data)
        command = [program, "-v", "error", "-nostdin", "-protocol_whitelist", "file,pipe", "-i", file.name, *options]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
    if done.returncode or not done.stdout:
        raise BadMedia(f"The {kind} is broken or of a kind that ffmpeg does not know; save it again.")
    return done.stdout
