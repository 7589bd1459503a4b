"""A small point transformer: a coloured cloud of 1024 points in, 16 tokens out. It knows no label and no LLM.

Neighbourhoods of 64 evenly spread centres are each summed up by a shared MLP and a maximum (PointNet), the centres
look at one another, and 16 learned queries collect what the tokens say.

Shapes: B = clouds, N = points, C = centres, K = neighbours, T = tokens, W = width inside, F = width of the tokens.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from modalities.base import Encoder
from modalities.pointcloud.sampling import Array, farthest

WEIGHTS = Path(__file__).with_name("encoder.safetensors")
PREPROCESSING = 1  # raise it when read or the choice of centres changes what the network sees

TOKENS, WIDTH = 16, 256  # T, F
CENTRES, NEIGHBOURS = 64, 16  # C, K
INNER, HEADS, LAYERS = 160, 4, 3


class Block(nn.Module):
    """Attention and an MLP, each after a norm and added to what was there."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        normed = self.before(x)
        source = normed if context is None else context
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, C, W / heads)
            for part in (self.to_q(normed), *self.to_kv(source).chunk(2, 2))
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        summed: Tensor = x + self.mlp(x)
        return summed


class PointTransformer(nn.Module):
    """The network alone: points and the indices of their centres -> tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.local = nn.Sequential(nn.Linear(9, 48), nn.GELU(), nn.Linear(48, 96))
        self.joined = nn.Linear(2 * 96, INNER)
        self.place = nn.Sequential(nn.Linear(6, 64), nn.GELU(), nn.Linear(64, INNER))
        self.blocks = nn.ModuleList(Block(INNER, HEADS) for _ in range(LAYERS))
        self.queries = nn.Parameter(torch.randn(1, TOKENS, INNER) * 0.5)
        self.norm = nn.LayerNorm(INNER)
        self.collect = Block(INNER, HEADS)
        self.out = nn.Sequential(nn.LayerNorm(INNER), nn.Linear(INNER, WIDTH), nn.LayerNorm(WIDTH))

    def forward(self, points: Tensor, centres: Tensor) -> Tensor:
        rows = torch.arange(len(points))
        middle = points[rows[:, None], centres]  # (B, C, 6)
        nearest = torch.cdist(middle[..., :3], points[..., :3]).topk(NEIGHBOURS, largest=False).indices  # (B, C, K)
        around = points[rows[:, None, None], nearest]  # (B, C, K, 6)
        offset = around[..., :3] - middle[:, :, None, :3]
        spread = offset.square().sum(3, keepdim=True).amax(2, keepdim=True).sqrt().clamp_min(1e-4)  # (B, C, 1, 1)
        shape = self.local(torch.cat((offset / spread, offset * 4, around[..., 3:]), 3))  # (B, C, K, 96)
        x = self.joined(torch.cat((shape.amax(2), shape.mean(2)), 2)) + self.place(middle)  # (B, C, W)
        for block in self.blocks:
            x = block(x)
        tokens: Tensor = self.out(self.collect(self.queries.expand(len(x), -1, -1), self.norm(x)))  # (B, T, F)
        return tokens


class PointEncoder(Encoder):
    """The frozen network with its weights."""

    width = WIDTH

    def __init__(self, weights: Path = WEIGHTS) -> None:
        super().__init__()
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        self.identity = f"pointcloud-{digest[:12]}-v{PREPROCESSING}"
        self.network = PointTransformer()
        self.network.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, media: Sequence[Any]) -> list[Tensor]:
        clouds: Sequence[Array] = media  # (N, 6) each
        centres = torch.stack([torch.from_numpy(farthest(cloud[:, :3], CENTRES)) for cloud in clouds])
        tokens = self.network(torch.stack([torch.from_numpy(cloud) for cloud in clouds]), centres)
        return list(tokens.unbind(0))
