"""Tiny encoders of transformers, written as the folders in which their big siblings are published."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    ASTConfig,
    ASTModel,
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    SiglipConfig,
    SiglipModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

SIDE, PATCH = 56, 14
BODY: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
SEEN: dict[str, Any] = {**BODY, "image_size": SIDE, "patch_size": PATCH}
READ: dict[str, Any] = {**BODY, "vocab_size": 50, "num_hidden_layers": 1}
PIXELS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.3, 0.3, 0.2]}
CROPPED = {**PIXELS, "size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
SQUEEZED = {**PIXELS, "size": {"height": SIDE, "width": SIDE}}


def clip(folder: Path) -> Path:
    """Both towers, as openai/clip-vit-large-patch14-336."""
    model = CLIPModel(CLIPConfig(vision_config=SEEN, text_config=READ, projection_dim=8))
    return _write(folder, model, {"image_processor_type": "CLIPImageProcessor", **CROPPED})


def siglip(folder: Path) -> Path:
    """Both towers; it has no class token."""
    model = SiglipModel(SiglipConfig(vision_config=SEEN, text_config=READ))
    return _write(folder, model, {"image_processor_type": "SiglipImageProcessor", **SQUEEZED})


def dinov2(folder: Path) -> Path:
    """One tower."""
    model = Dinov2Model(Dinov2Config(**{**SEEN, "mlp_ratio": 2}))
    return _write(folder, model, {"image_processor_type": "BitImageProcessor", **CROPPED})


def whisper(folder: Path) -> Path:
    """Encoder and decoder, with the head that its transcripts come from."""
    config = WhisperConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=60, num_mel_bins=8, max_source_positions=50,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    taken = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 8, "chunk_length": 1}
    return _write(folder, WhisperForConditionalGeneration(config), taken)


def ast(folder: Path) -> Path:
    """AudioSet's picture of a sound."""
    model = ASTModel(ASTConfig(**BODY, max_length=64, num_mel_bins=16))
    taken = {"feature_extractor_type": "ASTFeatureExtractor", "max_length": 64, "num_mel_bins": 16}
    return _write(folder, model, taken)


def _write(folder: Path, model: Any, taken: dict[str, Any]) -> Path:
    draw = torch.Generator().manual_seed(len(str(type(model))))
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=draw) * 0.2)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(taken))
    return folder
