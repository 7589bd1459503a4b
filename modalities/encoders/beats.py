"""BEATs (Chen et al., 2023) in plain PyTorch, under the names of the published weights: sounds in, patches out.

A log-mel picture is cut into patches of 16 by 16; a transformer with a convolution for position, T5's relative
position bias gated by each query (WavLM), and DeepNorm's scaled residuals looks at them. It knows no files.

Shapes: B = batch, T = patches, E = patch width, F = width, H = heads, L = frames, M = mel bins.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from modalities.assets import AssetError
from modalities.base import Encoder
from modalities.encoders.fbank import RATE, fbank
from modalities.weights import best_device, fill, published

MEAN, STD = 15.41663, 6.55582  # of AudioSet's filterbanks
LEAST = RATE  # samples; shorter sounds are followed by silence
FIXED = {"layer_norm_first": False, "conv_bias": False, "gru_rel_pos": True, "relative_position_embedding": True}
PREPROCESSING = 1  # raise it whenever what the network sees changes


@dataclass(frozen=True)
class Settings:
    """The `cfg` of a published checkpoint, as far as it decides the network; the defaults are iter3+ (AS2M)."""

    input_patch_size: int = 16
    embed_dim: int = 512  # E
    encoder_layers: int = 12
    encoder_embed_dim: int = 768  # F
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12  # H
    conv_pos: int = 128
    conv_pos_groups: int = 16
    num_buckets: int = 320
    max_distance: int = 800
    deep_norm: bool = True

    @classmethod
    def of(cls, published: Mapping[str, Any]) -> "Settings":
        """Raises AssetError for a BEATs that is built otherwise."""
        for name, value in FIXED.items():
            if published.get(name, value) != value:
                raise AssetError(f"This BEATs has {name}={published[name]}; use one of the published iter1 to iter3+.")
        return cls(**{field.name: published[field.name] for field in fields(cls) if field.name in published})


class Attention(nn.Module):
    """Self-attention with a position bias that each query turns up or down."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width, self.heads = settings.encoder_embed_dim, settings.encoder_attention_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.grep_linear = nn.Linear(width // self.heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:  # (B, T, F), (H, T, T)
        q, k, v = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )  # (B, H, T, F / H)
        a, b = self.grep_linear(q).unflatten(-1, (2, 4)).sum(-1).sigmoid().chunk(2, dim=-1)  # (B, H, T, 1)
        gate = a * (b * self.grep_a - 1) + 2
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=gate * bias)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each normed after it was added to a scaled residual."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width, inner = settings.encoder_embed_dim, settings.encoder_ffn_embed_dim
        self.alpha = (2 * settings.encoder_layers) ** 0.25 if settings.deep_norm else 1.0
        self.self_attn = Attention(settings)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.self_attn_layer_norm(x * self.alpha + self.self_attn(x, bias))
        out: Tensor = self.final_layer_norm(x * self.alpha + self.fc2(functional.gelu(self.fc1(x))))
        return out


class Transformer(nn.Module):
    """Patches (B, T, F) told where they are, and looked at by every layer."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = s = settings
        width = s.encoder_embed_dim
        self.pos_conv = nn.Conv1d(width, width, s.conv_pos, padding=s.conv_pos // 2, groups=s.conv_pos_groups)
        self.relative_attention_bias = nn.Embedding(s.num_buckets, s.encoder_attention_heads)
        self.layer_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.encoder_layers))

    def forward(self, x: Tensor) -> Tensor:
        place = functional.gelu(self.pos_conv(x.transpose(1, 2))[..., : x.shape[1]])  # (B, F, T)
        x = self.layer_norm(x + place.transpose(1, 2))
        bias = self.relative_attention_bias(self._buckets(x.shape[1], x.device)).permute(2, 0, 1)  # (H, T, T)
        for layer in self.layers:
            x = layer(x, bias)
        return x

    def _buckets(self, length: int, device: torch.device) -> Tensor:
        """T5's: exact up to a quarter of the buckets, then wider and wider; one half for each direction. (T, T)"""
        half = self.settings.num_buckets // 2
        exact = half // 2
        place = torch.arange(length, device=device)
        offset = place[None, :] - place[:, None]
        far = (offset.abs().float() / exact).log() / math.log(self.settings.max_distance / exact) * (half - exact)
        wide = (exact + far.clamp_min(0).long()).clamp_max(half - 1)
        return (offset > 0) * half + torch.where(offset.abs() < exact, offset.abs(), wide)


class BEATs(nn.Module):
    """Normalised filterbanks (B, L, M) -> features (B, T, F); T = L / 16 · M / 16."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        self.settings = s = settings or Settings()
        width, size = s.encoder_embed_dim, s.input_patch_size
        self.patch_embedding = nn.Conv2d(1, s.embed_dim, size, size, bias=False)
        self.layer_norm = nn.LayerNorm(s.embed_dim)
        self.post_extract_proj = nn.Linear(s.embed_dim, width) if s.embed_dim != width else nn.Identity()
        self.encoder = Transformer(s)

    def forward(self, banks: Tensor) -> Tensor:
        patches = self.patch_embedding(banks[:, None]).flatten(2).transpose(1, 2)  # (B, T, E)
        out: Tensor = self.encoder(self.post_extract_proj(self.layer_norm(patches)))  # (B, T, F)
        return out


def renamed(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published keys under ours: weight norm multiplied out, the one position bias that all layers share."""
    weights = {
        name: value for name, value in found.items() if not name.startswith("predictor.")
    }  # of AudioSet's labels
    shared = [name for name in weights if name.endswith(".self_attn.relative_attention_bias.weight")]
    for name in shared:
        bias = weights.pop(name)
        if not torch.equal(bias, weights.setdefault("encoder.relative_attention_bias.weight", bias)):
            raise AssetError(f"BEATs: {name} differs from the first layer's; use the published weights.")
    if {"encoder.pos_conv.0.weight_g", "encoder.pos_conv.0.weight_v"} <= weights.keys():
        scale, direction = (weights.pop(f"encoder.pos_conv.0.weight_{part}") for part in "gv")
        weights["encoder.pos_conv.weight"] = scale * direction / direction.norm(dim=(0, 1), keepdim=True)
    if "encoder.pos_conv.0.bias" in weights:
        weights["encoder.pos_conv.bias"] = weights.pop("encoder.pos_conv.0.bias")
    return weights


class BeatsEncoder(Encoder):
    """Mono sound at 16 kHz, (N,) each -> features (T, F) of its patches, 50 a second."""

    def __init__(self, network: BEATs, digest: str) -> None:
        super().__init__()
        self.network = network
        self.width = network.settings.encoder_embed_dim
        self.identity = f"beats-{digest[:12]}-v{PREPROCESSING}"

    @torch.no_grad()
    def forward(self, media: Sequence[Any]) -> list[Tensor]:
        device = self.network.layer_norm.weight.device
        out = []
        for wave in media:  # one by one: sounds differ in length
            banks = (fbank(np.pad(wave, (0, max(0, LEAST - len(wave))))) - MEAN) / (2 * STD)  # (L, M)
            out.append(self.network(torch.from_numpy(banks)[None].to(device))[0])  # (T, F)
        return out


def load(store: Path, source: str) -> BeatsEncoder:
    """BEATs from its published `.pt` (a name in store/assets, or a path). Raises AssetError."""

    def split(content: Any) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
        if not isinstance(content, dict) or not {"cfg", "model"} <= content.keys():
            raise AssetError(f"{Path(source).name} is no BEATs checkpoint: it has no 'cfg' and 'model'; fetch another.")
        return content["model"], {k: v for k, v in content["cfg"].items() if isinstance(v, bool | int | float | str)}

    found = published(store, source, split)
    network = BEATs(Settings.of(found.config))
    fill(network, renamed(found.weights), Path(source).name)
    return BeatsEncoder(network.to(best_device()), found.digest)
