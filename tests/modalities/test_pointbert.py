"""Point-BERT: the reference's numbers, the published keys, and a checkpoint as it is published."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modalities.assets import AssetError
from modalities.encoders import pointbert
from modalities.encoders.pointbert import PointBert, renamed
from modalities.weights import fill
from tests.modalities import golden


def ball(count: int = 8192) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng(2)
    places = rng.standard_normal((count, 3))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    places *= rng.random((count, 1)) ** (1 / 3)
    return np.concatenate((places, rng.random((count, 3))), 1).astype(np.float32)


def test_features_are_the_reference_s() -> None:
    """Golden: PointLLM's point_encoder.py at its real widths, two blocks, its farthest points begun at the first."""
    network = PointBert(depth=2).eval()
    fill(network, golden.weights(golden.shapes("pointbert", layers=2)), "pointbert")
    with torch.no_grad():
        found = network(torch.from_numpy(ball())[None])
    assert found.shape == (1, 513, 384)
    assert (found[0, ::16] - golden.outputs("pointbert")["features"]).abs().max() < 1e-4


def test_the_published_keys_fit_with_none_missing_and_none_left_over() -> None:
    with torch.device("meta"):
        network = PointBert()
    found = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert found == {name: tuple(shape) for name, shape in golden.shapes("pointbert").items()}


@pytest.mark.parametrize("prefix", ["module.point_encoder.", "model.point_backbone.", ""])
def test_a_published_file_is_read_by_any_of_its_names(tmp_path: Path, prefix: str) -> None:
    weights = {prefix + name: value for name, value in PointBert(depth=1).state_dict().items()}
    if prefix:
        weights["module.logit_scale"] = torch.zeros(())
    content = {"state_dict": weights, "epoch": 3, "args": argparse.Namespace(lr=0.1)} if prefix else weights
    torch.save(content, tmp_path / "point_bert.pt")
    encoder = pointbert.load(tmp_path, str(tmp_path / "point_bert.pt"), depth=1)
    for name, value in encoder.network.state_dict().items():
        assert torch.equal(value, weights[prefix + name])


def test_it_sees_colour() -> None:
    encoder = pointbert.PointBertEncoder(PointBert(depth=1).eval(), "0" * 64)
    grey = ball(600)
    grey[:, 3:] = 0.5
    coloured, plain = encoder([ball(600), grey])
    assert coloured.shape == (513, 384)
    assert (coloured - plain).abs().max() > 1e-3


def test_a_checkpoint_without_colour_is_refused_by_name(tmp_path: Path) -> None:
    weights = PointBert(depth=1).state_dict()
    weights["encoder.first_conv.0.weight"] = torch.zeros(128, 3, 1)
    torch.save({"state_dict": {f"module.point_encoder.{k}": v for k, v in weights.items()}}, tmp_path / "grey.pt")
    with pytest.raises(AssetError, match=r"first_conv\.0\.weight has shape \(128, 3, 1\), here it is \(128, 6"):
        pointbert.load(tmp_path, str(tmp_path / "grey.pt"), depth=1)


def test_a_missing_key_is_named_and_an_empty_file_too(tmp_path: Path) -> None:
    weights = PointBert(depth=1).state_dict()
    del weights["cls_pos"]
    torch.save(weights, tmp_path / "cut.pt")
    with pytest.raises(AssetError, match=r"cut\.pt lacks cls_pos"):
        pointbert.load(tmp_path, str(tmp_path / "cut.pt"), depth=1)
    torch.save({"epoch": 1}, tmp_path / "none.pt")
    with pytest.raises(AssetError, match="has no weights"):
        pointbert.load(tmp_path, str(tmp_path / "none.pt"))


def test_renaming_leaves_a_bare_checkpoint_as_it_is() -> None:
    assert renamed({"norm.weight": torch.zeros(1)}).keys() == {"norm.weight"}
