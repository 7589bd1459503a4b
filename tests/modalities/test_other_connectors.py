"""The connectors of other architectures, by themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch

from modalities.architectures import InputEmbedding
from modalities.assets import AssetError
from modalities.encoders import vision
from modalities.encoders.last_layers import LastLayers
from modalities.encoders.pixels import RawPatches
from tests.modalities import towers


def test_a_tower_s_last_layers_go_on_where_its_frozen_part_ends(tmp_path: Path) -> None:
    source = str(towers.clip(tmp_path / "clip"))
    frozen, whole = vision.load(tmp_path, source, layer=-3), vision.load(tmp_path, source, layer=-1)
    last = LastLayers(frozen.width, 8, source=source, layers=2, heads=2, inner=32)
    last.pretrained(tmp_path)
    pixels = whole.processor(images=[np.zeros((60, 60, 3), np.uint8)], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        states = whole.network(pixels, output_hidden_states=True).hidden_states
        assert torch.allclose(last.encoded(states[-3]), states[-1], atol=1e-5)
        assert last(torch.stack(frozen([np.zeros((60, 60, 3), np.uint8)]))).shape == (1, 16, 8)
    with pytest.raises(AssetError, match="other widths"):
        LastLayers(frozen.width, 8, source=source, layers=2, heads=2, inner=64).pretrained(tmp_path)


def test_pixels_need_no_encoder() -> None:
    encoder = RawPatches(side=32, patch=16)
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32, 32:] = 255  # the second of four patches
    patches = encoder([picture])[0]
    assert patches.shape == (4, 768)
    assert patches[1].mean() > 0.9 > -0.9 > patches[3].mean()
    assert InputEmbedding(encoder.width, 8)(patches[None]).shape == (1, 4, 8)
