"""A small network for sounds: up to 3.84 seconds in, 13 tokens out. It knows no label, no file and no LLM.

A CNN looks at the log-mel picture and sums up eight stretches of time; a transformer lets them and 4 learned registers
look at one another. Their mean, from which the labels of the pretraining are read, goes before them. A longer sound is
heard in windows, and its tokens are the windows' mean.

Shapes: B = windows, N = samples at 16 kHz, M = mel bands, L = frames, C = channels, T = tokens, F = their width.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from modalities.base import Encoder

WEIGHTS = Path(__file__).with_name("encoder.safetensors")
PREPROCESSING = 1  # raise it when reading or the log-mel picture change what the network sees

RATE = 16_000
FFT, HOP, BANDS, FRAMES = 1024, 320, 80, 192  # samples, samples, M, L: a frame is 20 ms
LOWEST, HIGHEST = 40.0, 8000.0  # Hz
FLOOR = 80.0  # decibels under the loudest that are told from silence
WINDOW = HOP * FRAMES  # N: samples of a window

STEM, MIDDLE, DEEP = 16, 48, 96
STRETCHES, REGISTERS, HEADS, BLOCKS = 8, 4, 4, 2
TOKENS, WIDTH = 1 + STRETCHES + REGISTERS, 256  # T, F

Wave = NDArray[np.float32]


def pictures(waves: Tensor) -> Tensor:
    """Log-mel pictures, 0 for what is FLOOR or more under the loudest and 1 for that: (B, N) -> (B, M, L)."""
    padded = nn.functional.pad(waves, (FFT // 2, FFT // 2 - 1))
    window = torch.hann_window(FFT, dtype=waves.dtype)
    power = torch.stft(padded, FFT, HOP, window=window, center=False, return_complex=True).abs().square()
    mel = (_filters() @ power).clamp_min(1e-14)  # (B, M, L)
    decibels = 10 * mel.log10()
    top = decibels.amax((1, 2), keepdim=True).clamp_min(-60)  # near silence is not blown up
    return ((decibels - top) / FLOOR + 1).clamp_min(0)


@lru_cache(1)
def _filters() -> Tensor:
    """Triangles that are evenly spread on the mel scale: (M, FFT / 2 + 1)."""
    frequencies = torch.linspace(0, RATE / 2, FFT // 2 + 1, dtype=torch.float64)
    ends = torch.tensor([LOWEST, HIGHEST], dtype=torch.float64)
    low, high = (2595 * torch.log10(1 + ends / 700)).tolist()
    corners = 700 * (10 ** (torch.linspace(low, high, BANDS + 2, dtype=torch.float64) / 2595) - 1)
    rising = (frequencies - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - frequencies) / (corners[2:] - corners[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp_min(0).float()


class Residual(nn.Module):
    """Two convolutions, added to what was there."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(_convolution(width, width), nn.ReLU(), _convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.inner(x))


class Block(nn.Module):
    """Attention and an MLP, each after a norm and added to what was there."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, F / heads)
            for part in self.to_qkv(self.before(x)).chunk(3, 2)
        )
        x = x + self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        summed: Tensor = x + self.mlp(x)
        return summed


class SoundNetwork(nn.Module):
    """The network alone: log-mel pictures -> tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *(_convolution(1, STEM, stride=2), nn.ReLU()),  # (B, C, M / 2, L / 2)
            *(_convolution(STEM, MIDDLE, stride=2), nn.ReLU()),  # (., ., M / 4, L / 4)
            *(_convolution(MIDDLE, DEEP, stride=2), nn.ReLU(), Residual(DEEP)),  # (., ., M / 8, L / 8)
        )
        self.stretch = nn.Linear(DEEP * BANDS // 8 * FRAMES // 8 // STRETCHES, WIDTH)
        self.registers = nn.Parameter(torch.randn(1, REGISTERS, WIDTH) * 0.02)
        self.place = nn.Parameter(torch.randn(1, STRETCHES, WIDTH) * 0.02)
        self.blocks = nn.Sequential(*(Block(WIDTH, HEADS) for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, seen: Tensor) -> Tensor:  # (B, M, L)
        x = self.trunk(4 * seen[:, None] - 2)  # (B, DEEP, M / 8, L / 8)
        x = x.unflatten(3, (STRETCHES, -1)).permute(0, 3, 1, 2, 4).flatten(2)  # (B, STRETCHES, ...)
        x = torch.cat((self.stretch(x) + self.place, self.registers.expand(len(x), -1, -1)), 1)
        x = self.norm(self.blocks(x))  # (B, STRETCHES + REGISTERS, F)
        return torch.cat((x.mean(1, keepdim=True), x), 1)  # (B, T, F)


def _convolution(width_in: int, width_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False), nn.BatchNorm2d(width_out))


def windows(wave: Wave) -> Tensor:
    """A sound (N,) in windows that cover it evenly; a short one is filled up with silence: (B, WINDOW)."""
    whole = torch.from_numpy(wave)
    if len(whole) <= WINDOW:
        return nn.functional.pad(whole, (0, WINDOW - len(whole)))[None]
    count = -(-len(whole) // WINDOW)
    starts = [place * (len(whole) - WINDOW) // (count - 1) for place in range(count)]
    return torch.stack([whole[start : start + WINDOW] for start in starts])


class AudioEncoder(Encoder):
    """The frozen network with its weights."""

    width = WIDTH

    def __init__(self, weights: Path = WEIGHTS) -> None:
        super().__init__()
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        self.identity = f"audio-{digest[:12]}-v{PREPROCESSING}"
        self.network = SoundNetwork()
        self.network.load_state_dict(load_file(weights))
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, media: Sequence[Any]) -> list[Tensor]:
        heard = [windows(wave) for wave in media]  # (B, WINDOW) each
        tokens = self.network(pictures(torch.cat(heard)))
        return [one.mean(0) for one in tokens.split([len(one) for one in heard])]
