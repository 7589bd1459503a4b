"""A small network for coloured clouds: 1024 points in, 17 tokens out. It knows no label and no LLM.

The cloud is looked at along its three axes: each view is a grid of pillars that hold what lies in them (occupied
layers, the nearest and farthest point, how many, their colour). A CNN, the same for all views, sums up the quadrants
of each view; a transformer lets the 12 quadrants and 4 learned registers look at one another. Their mean, from which
the labels of the pretraining are read, goes before them.

Shapes: B = clouds, N = points, V = views, C = channels, G = pillars a side, T = tokens, F = width of the tokens.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from modalities.base import Encoder
from modalities.pointcloud.sampling import Array

WEIGHTS = Path(__file__).with_name("encoder.safetensors")
PREPROCESSING = 1  # raise it when read or views change what the network sees

VIEWS, GRID, LAYERS = 3, 24, 8  # V, G, layers told apart along the line of sight
CHANNELS = LAYERS + 6  # C: layers, nearest, farthest, count, r, g, b
STEM, MIDDLE, DEEP = 24, 48, 80
REGISTERS, HEADS, BLOCKS = 4, 4, 2
QUADRANTS = 4 * VIEWS
TOKENS, WIDTH = 1 + QUADRANTS + REGISTERS, 256  # T, F


def views(points: Tensor) -> Tensor:
    """What lies in each pillar along each axis: (B, N, 6) -> (B, V, C, G, G)."""
    count, many = points.shape[:2]
    cell = ((points[..., :3] + 1) / 2 * GRID).long().clamp(0, GRID - 1)  # (B, N, 3)
    layer = ((points[..., :3] + 1) / 2 * LAYERS).long().clamp(0, LAYERS - 1)  # (B, N, 3)
    seen = []
    for axis in range(VIEWS):
        row, column = (cell[..., other] for other in range(3) if other != axis)
        pillar = row * GRID + column  # (B, N)
        depth = points[..., axis]
        empty = points.new_zeros(count, GRID * GRID)
        number = empty.scatter_add(1, pillar, torch.ones_like(depth))
        near = (empty - 1.5).scatter_reduce(1, pillar, depth, "amax")
        far = (empty + 1.5).scatter_reduce(1, pillar, depth, "amin")
        layers = points.new_zeros(count, LAYERS * GRID * GRID)
        layers = layers.scatter(1, layer[..., axis] * GRID * GRID + pillar, 1.0).view(count, LAYERS, -1)
        colour = points.new_zeros(count, GRID * GRID, 3)
        colour = colour.scatter_add(1, pillar[..., None].expand(count, many, 3), points[..., 3:])
        colour = (colour / number.clamp_min(1)[..., None]).transpose(1, 2)
        seen.append(torch.cat((layers, torch.stack((near, far, number.sqrt()), 1), colour), 1))  # (B, C, G * G)
    stacked = torch.stack(seen, 1)  # (B, V, C, G * G)
    return stacked.view(count, VIEWS, CHANNELS, GRID, GRID)


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


class PointNetwork(nn.Module):
    """The network alone: points -> tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.axis = nn.Parameter(torch.zeros(VIEWS, STEM, 1, 1))  # which view it is
        self.stem = _convolution(CHANNELS, STEM)
        self.trunk = nn.Sequential(
            nn.ReLU(),
            *(_convolution(STEM, MIDDLE, stride=2), nn.ReLU(), Residual(MIDDLE)),  # (., ., G / 2, G / 2)
            *(_convolution(MIDDLE, DEEP, stride=2), nn.ReLU(), Residual(DEEP)),  # (., ., G / 4, G / 4)
        )
        self.quadrant = nn.Linear(DEEP * (GRID // 8) ** 2, WIDTH)
        self.registers = nn.Parameter(torch.randn(1, REGISTERS, WIDTH) * 0.02)
        self.place = nn.Parameter(torch.randn(1, QUADRANTS, WIDTH) * 0.02)
        self.blocks = nn.Sequential(*(Block(WIDTH, HEADS) for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, points: Tensor) -> Tensor:
        seen = views(points)  # (B, V, C, G, G)
        x = self.stem(seen.flatten(0, 1)).unflatten(0, seen.shape[:2]) + self.axis
        x = self.trunk(x.flatten(0, 1)).unflatten(0, seen.shape[:2])  # (B, V, DEEP, G / 4, G / 4)
        side = GRID // 8
        x = x.unflatten(4, (2, side)).unflatten(3, (2, side))  # (B, V, DEEP, 2, side, 2, side)
        x = x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(1, 3)  # (B, 12, DEEP * side * side)
        x = torch.cat((self.quadrant(x) + self.place, self.registers.expand(len(x), -1, -1)), 1)
        x = self.norm(self.blocks(x))  # (B, QUADRANTS + REGISTERS, F)
        return torch.cat((x.mean(1, keepdim=True), x), 1)  # (B, T, F)


def _convolution(width_in: int, width_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False), nn.BatchNorm2d(width_out))


class PointEncoder(Encoder):
    """The frozen network with its weights."""

    width = WIDTH

    def __init__(self, weights: Path = WEIGHTS) -> None:
        super().__init__()
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        self.identity = f"pointcloud-{digest[:12]}-v{PREPROCESSING}"
        self.network = PointNetwork()
        self.network.load_state_dict(load_file(weights))
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, media: Sequence[Any]) -> list[Tensor]:
        clouds: Sequence[Array] = media  # (N, 6) each
        return list(self.network(torch.stack([torch.from_numpy(cloud) for cloud in clouds])).unbind(0))
