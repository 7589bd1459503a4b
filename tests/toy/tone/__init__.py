"""tone: a whole modality in one folder, small enough to read in a minute. A .tone file is 64 numbers as text.

Nothing else in the tree knows it: it is added, gated, deployed and asked by its dotted name.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modalities.assets import build
from modalities.base import BadMedia, Dataset, Encoder, Modality, Part, Sample
from modalities.connectors import MLP

LENGTH, WINDOWS = 64, 4
PITCHES = {"low": 2, "middle": 5, "high": 11}
LOUDNESS = {"soft": 0.3, "loud": 1.0}


def make(pitch: str, loudness: str, seed: int) -> bytes:
    """The bytes of a .tone file: a noisy sine."""
    noise = np.random.default_rng(seed)
    wave = LOUDNESS[loudness] * np.sin(2 * np.pi * PITCHES[pitch] * np.arange(LENGTH) / LENGTH + noise.uniform(0, 6))
    return " ".join(f"{x:.3f}" for x in wave + noise.normal(0, 0.02, LENGTH)).encode()


def read(data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    """64 finite numbers, or BadMedia."""
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and is refused below
            wave = np.array([float(word) for word in data.decode("ascii").split()], dtype=np.float32)
    except ValueError:
        raise BadMedia("This is not a .tone file; send 64 numbers as text.") from None
    if wave.shape != (LENGTH,) or not np.isfinite(wave).all():
        raise BadMedia(f"A .tone file has {LENGTH} finite numbers; this one does not.")
    return wave


class Spectrum(Encoder):
    """Magnitudes of a short Fourier transform: frozen, and nothing to load."""

    width = LENGTH // WINDOWS // 2 + 1  # F
    identity = "spectrum-" + hashlib.sha256(b"rfft, 4 windows, version 1").hexdigest()[:8]

    def forward(self, media: Sequence[Any]) -> list[Tensor]:
        waves = torch.from_numpy(np.stack(media)).view(len(media), WINDOWS, -1)  # (B, T, 16)
        return list(torch.fft.rfft(waves).abs())  # (T, F) each


def datasets(store: Path, suffix: str = "tone", offset: int = 0) -> list[Dataset]:
    """Captions and questions about 72 tones; the last third, with other noise, is the test."""

    def write(folder: Path) -> None:
        for number in range(72):
            pitch, loudness = _labels(number)
            (folder / f"{number:03d}.{suffix}").write_bytes(make(pitch, loudness, number + offset))

    folder = build(store, f"{suffix}-1", write, kind="data")
    captions, questions = [], []
    for number in range(72):
        pitch, loudness = _labels(number)
        media = Part(suffix, folder / f"{number:03d}.{suffix}")
        ask = Random(number).choice(["Describe this.", "What do you hear?"])
        texts = (f"a {loudness} {pitch} {suffix}", f"a {pitch} {suffix}, {loudness}")
        captions.append(Sample(f"{number:03d}-caption", "caption", (media, Part("text", ask)), texts, "name"))
        prompt = (media, Part("text", f"How high is the {suffix}?"))
        questions.append(Sample(f"{number:03d}-pitch", "qa", prompt, (pitch,), "pitch"))
    return [
        Dataset(f"{suffix}-caption", "caption", tuple(captions[:48]), tuple(captions[48:])),
        Dataset(f"{suffix}-qa", "qa", tuple(questions[:48]), tuple(questions[48:])),
    ]


def _labels(number: int) -> tuple[str, str]:
    return list(PITCHES)[number % 3], list(LOUDNESS)[number // 3 % 2]


MODALITY = Modality(
    name="tone",
    media_types=("application/x-tone",),
    suffixes=(".tone",),
    max_bytes=64_000,
    read=read,
    encoder=lambda store: Spectrum(),
    connector=lambda width, out: MLP(width, out),
    datasets=datasets,
    shows=Path(__file__).with_name("shows.toml"),
)
