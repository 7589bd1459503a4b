"""Any sound transformer of transformers that takes one picture of a sound: Whisper's encoder, or AST.

It knows no files.

Shapes: T = tokens, F = width, N = samples.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modalities.assets import AssetError
from modalities.base import Encoder
from modalities.encoders.towers import tower
from modalities.weights import best_device

PREPROCESSING = 1  # raise it whenever what the network sees changes
RATE = 16_000


class SoundEncoder(Encoder):
    """Mono sound at 16 kHz, (N,) each -> the last layer's tokens (T, F)."""

    def __init__(self, network: Any, extractor: Any, digest: str) -> None:
        super().__init__()
        self.network = network.get_encoder() if network.config.is_encoder_decoder else network
        self.extractor = extractor
        self.width = int(network.config.hidden_size)
        self.identity = f"{network.config.model_type}-{digest[:12]}-v{PREPROCESSING}"

    @torch.no_grad()
    def forward(self, media: Sequence[Any]) -> list[Tensor]:
        wanted = self.network.main_input_name
        out = []
        for wave in media:
            taken = self.extractor(wave, sampling_rate=RATE, return_tensors="pt")
            name = wanted if wanted in taken else next(iter(taken))
            out.append(self.network(taken[name].to(self.network.device)).last_hidden_state[0])  # (T, F)
        return out


def load(store: Path, source: str, revision: str | None = None) -> SoundEncoder:
    """A sound model from a folder (in store/assets, or a path) or a hub id. Raises AssetError."""
    from transformers import AutoFeatureExtractor

    network, folder, digest = tower(store, source, revision)
    if not (folder / "preprocessor_config.json").is_file():
        raise AssetError(f"{Path(source).name} has no preprocessor_config.json; fetch its folder whole.")
    extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    if extractor.sampling_rate != RATE:
        raise AssetError(f"{Path(source).name} hears at {extractor.sampling_rate} Hz, not {RATE}; use another encoder.")
    return SoundEncoder(network.to(best_device()), extractor, digest)
