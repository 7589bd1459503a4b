"""Point-BERT v1.2 as PointLLM uses it, in plain PyTorch under the published names: a coloured cloud in, 513 tokens out.

Farthest points become centres, each with its nearest neighbours; a PointNet sums every group up, and a transformer
looks at them beside a class token (Yu et al., 2022; Xu et al., 2024). It knows no files.

Shapes: B = batch, N = points, G = groups, K = neighbours, C = channels of a point, F = width, T = G + 1 tokens.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modalities.assets import AssetError
from modalities.base import Encoder
from modalities.weights import best_device, fill, published

POINTS = 8192  # N
GROUPS, NEIGHBOURS = 512, 32  # G, K
CHANNELS = 6  # xyz and rgb
WIDTH, DEPTH, HEADS, INNER = 384, 12, 6, 256
PREFIXES = ("module.point_encoder.", "model.point_backbone.", "point_backbone.")  # ULIP's, PointLLM's
PREPROCESSING = 1  # raise it whenever what the network sees changes


class PointNet(nn.Module):
    """Every group of points (…, K, C) -> one feature (…, INNER), whatever their order."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(
            nn.Conv1d(CHANNELS, 128, 1), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 256, 1)
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(), nn.Conv1d(512, INNER, 1)
        )

    def forward(self, groups: Tensor) -> Tensor:  # (B, G, K, C)
        each = self.first_conv(groups.flatten(0, 1).transpose(1, 2))  # (B·G, 256, K)
        all_ = each.amax(2, keepdim=True).expand_as(each)
        summed = self.second_conv(torch.cat((all_, each), 1)).amax(2)  # (B·G, INNER)
        out: Tensor = summed.unflatten(0, groups.shape[:2])
        return out


class Attention(nn.Module):
    """Self-attention whose queries, keys and values come from one bias-free projection."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, F)
        q, k, v = self.qkv(x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # (B, HEADS, T, F / HEADS)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention and a feed-forward, each after a norm and added to what was there."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attn = Attention()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, 4 * WIDTH), "fc2": nn.Linear(4 * WIDTH, WIDTH)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp["fc2"](nn.functional.gelu(self.mlp["fc1"](self.norm2(x))))
        return out


class Blocks(nn.Module):
    """All blocks; each is told again where the groups are."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))

    def forward(self, x: Tensor, place: Tensor) -> Tensor:  # (B, T, F) both
        for block in self.blocks:
            x = block(x + place)
        return x


class PointBert(nn.Module):
    """Clouds (B, N, C) in the unit ball, colours from 0 to 1 -> tokens (B, T, F), the class token first."""

    def __init__(self, depth: int = DEPTH) -> None:
        super().__init__()
        self.encoder = PointNet()
        self.reduce_dim = nn.Linear(INNER, WIDTH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, WIDTH))
        self.blocks = Blocks(depth)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, clouds: Tensor) -> Tensor:
        groups, centres = grouped(clouds)  # (B, G, K, C), (B, G, 3)
        x = self.reduce_dim(self.encoder(groups))  # (B, G, F)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1)  # (B, T, F)
        place = torch.cat((self.cls_pos.expand(len(x), -1, -1), self.pos_embed(centres)), 1)
        tokens: Tensor = self.norm(self.blocks(x, place))
        return tokens


def grouped(clouds: Tensor) -> tuple[Tensor, Tensor]:
    """Clouds (B, N, C) -> groups (B, G, K, C), their places relative to their centres (B, G, 3)."""
    rows = torch.arange(len(clouds), device=clouds.device)
    places = clouds[..., :3]
    centres = places[rows[:, None], farthest(places, GROUPS)]  # (B, G, 3)
    apart = -2 * centres @ places.transpose(1, 2)  # squared distances as the original adds them up: ties fall alike
    apart += centres.square().sum(-1)[:, :, None]
    apart += places.square().sum(-1)[:, None, :]  # (B, G, N)
    nearest = apart.topk(NEIGHBOURS, largest=False, sorted=False).indices  # (B, G, K)
    around = clouds[rows[:, None, None], nearest]  # (B, G, K, C)
    return torch.cat((around[..., :3] - centres[:, :, None], around[..., 3:]), -1), centres


def farthest(places: Tensor, count: int) -> Tensor:
    """Indices (B, count) of points that lie far apart; the first point of the file is the first.

    The original begins at a random point. A feature must be the same each time, so that it can be cached.
    """
    rows = torch.arange(len(places), device=places.device)
    distance = torch.full(places.shape[:2], torch.inf, device=places.device)  # (B, N)
    last = torch.zeros(len(places), dtype=torch.long, device=places.device)
    chosen = []
    for _ in range(count):
        chosen.append(last)
        distance = torch.minimum(distance, (places - places[rows, last][:, None]).square().sum(-1))
        last = distance.argmax(1)
    return torch.stack(chosen, 1)


class PointBertEncoder(Encoder):
    """Coloured clouds (N, 6) -> 513 tokens (T, F) each."""

    width = WIDTH

    def __init__(self, network: PointBert, digest: str) -> None:
        super().__init__()
        self.network = network
        self.identity = f"pointbert-{digest[:12]}-v{PREPROCESSING}"

    @torch.no_grad()
    def forward(self, media: Sequence[Any]) -> list[Tensor]:
        clouds = torch.from_numpy(np.stack(media)).to(self.network.norm.weight.device)
        return list(self.network(clouds))


def renamed(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's keys in a published checkpoint (ULIP-2's, PointLLM's own, or bare)."""
    for prefix in PREFIXES:
        own = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
        if own:
            return own
    return dict(found)


def load(store: Path, source: str, depth: int = DEPTH) -> PointBertEncoder:
    """Point-BERT from `point_bert_v1.2.pt` (a name in store/assets, or a path). Raises AssetError."""

    def split(content: Any) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
        weights = content.get("state_dict", content) if isinstance(content, dict) else {}
        own = {name: value for name, value in renamed(weights).items() if isinstance(value, Tensor)}
        if not own:
            raise AssetError(f"{Path(source).name} is no Point-BERT checkpoint: it has no weights; fetch another.")
        return own, {}

    found = published(store, source, split)
    network = PointBert(depth)
    fill(network, renamed(found.weights), Path(source).name)
    return PointBertEncoder(network.to(best_device()).eval(), found.digest)
