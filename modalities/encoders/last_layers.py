"""A tower without a connector (paper, Appendix A.3): its last layers are trained, what runs before them stays frozen.

It knows no modality.

Shapes: B = batch, T = tokens, F = the tower's width, D = backbone width.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from modalities.assets import AssetError
from modalities.encoders.towers import tower


class LastLayers(nn.Module):
    """The last layers of a CLIP tower, trained as its connector; what runs before them stays the frozen encoder.

    The encoder is then loaded with `layer=-1 - layers`. A linear layer brings the tower's width to the backbone's.
    """

    def __init__(self, width_in: int, width_out: int, *, source: str, layers: int, heads: int, inner: int) -> None:
        super().__init__()
        self.source = source
        config = CLIPVisionConfig(hidden_size=width_in, num_attention_heads=heads, intermediate_size=inner)
        config._attn_implementation = "sdpa"
        self.layers = nn.ModuleList(CLIPEncoderLayer(config) for _ in range(layers))
        self.project = nn.Linear(width_in, width_out)

    def forward(self, features: Tensor) -> Tensor:  # (B, T, F)
        tokens: Tensor = self.project(self.encoded(features))  # (B, T, D)
        return tokens

    def encoded(self, features: Tensor) -> Tensor:
        """What the tower itself would say, (B, T, F)."""
        for layer in self.layers:
            features = layer(features, None)
        return features

    def pretrained(self, store: Path) -> None:
        """The tower's own last layers. Raises AssetError."""
        published: Any = tower(store, self.source)[0]
        own = [layer.state_dict() for layer in published.encoder.layers[-len(self.layers) :]]
        for layer, weights in zip(self.layers, own, strict=True):
            try:
                layer.load_state_dict(weights)
            except RuntimeError:
                raise AssetError(f"{Path(self.source).name}'s layers have other widths; set heads and inner.") from None
