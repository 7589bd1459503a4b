"""BEATs: the reference's numbers, the published keys, and a checkpoint as it is published."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modalities.assets import AssetError
from modalities.encoders import beats
from modalities.encoders.beats import BEATs, Settings, renamed
from modalities.encoders.fbank import fbank
from modalities.weights import fill
from tests.modalities import golden

TINY: dict[str, Any] = {
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
}
TINY |= {"embed_dim": 16, "conv_pos_groups": 4, "num_buckets": 32, "max_distance": 40}


def chirp() -> np.ndarray[Any, np.dtype[np.float32]]:
    seconds = np.arange(40000) / 16000
    noise = 0.05 * np.random.default_rng(1).standard_normal(len(seconds))
    return (0.3 * np.sin(2 * np.pi * 440 * seconds * (1 + 0.2 * seconds)) + noise).astype(np.float32)


def published(path: Path, **changes: Any) -> Path:
    """A tiny checkpoint as the real ones are: cfg and model in a pickle, the first layer's bias in every layer."""
    torch.manual_seed(0)
    network = BEATs(Settings(**TINY))
    weights = {name: torch.randn_like(value) * 0.1 for name, value in network.state_dict().items()}
    bias = weights.pop("encoder.relative_attention_bias.weight")
    weights |= {f"encoder.layers.{layer}.self_attn.relative_attention_bias.weight": bias for layer in range(2)}
    conv = weights.pop("encoder.pos_conv.weight")
    weights["encoder.pos_conv.0.weight_v"] = conv
    weights["encoder.pos_conv.0.weight_g"] = conv.norm(dim=(0, 1), keepdim=True)
    weights["encoder.pos_conv.0.bias"] = weights.pop("encoder.pos_conv.bias")
    cfg = {**TINY, "deep_norm": True, "gru_rel_pos": True, "relative_position_embedding": True, "dropout": 0.0}
    torch.save({"cfg": {**cfg, **changes}, "model": weights}, path)
    return path


def test_features_are_the_reference_s() -> None:
    """Golden: BEATs.py of microsoft/unilm at its real widths, two layers, with torchaudio's Kaldi filterbank."""
    network = BEATs(Settings(encoder_layers=2)).eval()
    weights = golden.weights(golden.shapes("beats", layers=2))
    shared = "encoder.layers.{}.self_attn.relative_attention_bias.weight"  # one tensor there: what is read last, stays
    fill(network, renamed(weights | {shared.format(0): weights[shared.format(1)]}), "beats")
    banks = torch.from_numpy((fbank(chirp()) - beats.MEAN) / (2 * beats.STD))
    expected = golden.outputs("beats")
    assert (banks[::16] - expected["fbank"]).abs().max() < 1e-4
    with torch.no_grad():
        assert (network(banks[None])[0, ::5] - expected["features"]).abs().max() < 1e-4


def test_the_published_keys_fit_with_none_missing_and_none_left_over() -> None:
    with torch.device("meta"):
        network = BEATs()
    keys = {name: torch.empty(shape) for name, shape in golden.shapes("beats").items()}
    for name in keys:
        if name.endswith("relative_attention_bias.weight"):
            keys[name] = torch.zeros(320, 12)
    found = {name: tuple(value.shape) for name, value in renamed(keys).items()}
    assert found == {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert len([name for name in keys if name.startswith("encoder.layers.")]) == 12 * 20


def test_a_published_file_is_converted_once_and_heard(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    published(tmp_path / "assets" / "BEATs_tiny.pt")
    encoder = beats.load(tmp_path, "BEATs_tiny.pt")
    folder = next((tmp_path / "assets").glob("BEATs_tiny-*"))
    before = (folder / "model.safetensors").stat().st_mtime_ns
    again = beats.load(tmp_path, "BEATs_tiny.pt")
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert encoder.identity == again.identity
    assert encoder.width == 32
    heard = encoder([chirp(), chirp()[:800]])
    assert [one.shape for one in heard] == [(15 * 8, 32), (6 * 8, 32)], "Silence follows what is shorter than a second."
    assert torch.equal(again([chirp()])[0], heard[0])
    assert (encoder([chirp() * 0.5])[0] - heard[0]).abs().max() > 1e-3


def test_a_missing_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    content = torch.load(published(tmp_path / "whole.pt"), weights_only=True)
    del content["model"]["encoder.layers.1.fc1.weight"]
    torch.save(content, tmp_path / "cut.pt")
    with pytest.raises(AssetError, match=r"cut\.pt lacks encoder\.layers\.1\.fc1\.weight") as error:
        beats.load(tmp_path, str(tmp_path / "cut.pt"))
    assert str(tmp_path) not in str(error.value)


def test_layers_with_biases_of_their_own_are_refused(tmp_path: Path) -> None:
    content = torch.load(published(tmp_path / "whole.pt"), weights_only=True)
    content["model"]["encoder.layers.1.self_attn.relative_attention_bias.weight"] = torch.ones(32, 4)
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(AssetError, match="differs from the first"):
        beats.load(tmp_path, str(tmp_path / "odd.pt"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [({"state_dict": {}}, "no 'cfg' and 'model'"), ({"cfg": {"layer_norm_first": True}, "model": {}}, "layer_norm")],
)
def test_another_checkpoint_is_refused_in_one_line(tmp_path: Path, content: dict[str, Any], complaint: str) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(AssetError, match=complaint):
        beats.load(tmp_path, str(tmp_path / "other.pt"))
