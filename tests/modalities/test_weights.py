"""Published weights: where they are looked for, what a pickle may hold, and what does not fit."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from modalities.assets import AssetError
from modalities.weights import fill, locate, published, tensors, unpickled


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo harm > harmed",)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Harmful()}, tmp_path / "harm.pt")
    with pytest.raises(AssetError, match=r"harm\.pt holds more than weights; fetch it again, or give"):
        unpickled(tmp_path / "harm.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(AssetError, match=r"plain\.pt"):
        unpickled(tmp_path / "plain.pt")
    (tmp_path / "noise.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(AssetError, match="damaged or no PyTorch file"):
        unpickled(tmp_path / "noise.pt")
    assert not (tmp_path / "harmed").exists()


def test_a_name_is_looked_for_in_the_store_then_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "assets" / "clip").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    assert locate(tmp_path, "clip") == tmp_path / "assets" / "clip"
    assert locate(tmp_path, str(tmp_path / "elsewhere")) == tmp_path / "elsewhere"
    for wrong in ("clip-2", "weights/best.pt", "/nowhere/at/all", "../x", ""):
        with pytest.raises(AssetError, match="in the store's assets") as error:
            locate(tmp_path, wrong)
        assert "/nowhere" not in str(error.value)


def test_a_hub_that_cannot_be_reached_is_one_line_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(AssetError, match=r"'openai/clip' at revision abc is neither .* store/assets\.$"):
        locate(tmp_path, "openai/clip", "abc")


def test_safetensors_are_taken_as_they_are_and_shards_together(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.ones(2)}, tmp_path / "model-2.safetensors")
    assert tensors(tmp_path).keys() == {"a", "b"}
    found = published(tmp_path, str(tmp_path / "model-1.safetensors"), lambda content: (content, {}))
    assert found.weights.keys() == {"a"}
    assert found.config == {}
    (tmp_path / "model-2.safetensors").write_bytes(b"cut")
    with pytest.raises(AssetError, match=r"model-2\.safetensors is damaged"):
        tensors(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssetError, match=r"empty holds no \.safetensors"):
        tensors(tmp_path / "empty")


def test_what_does_not_fit_is_counted_and_the_first_is_named() -> None:
    weights = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
    layer = nn.Linear(3, 2)
    fill(layer, weights, "it")
    assert not layer.weight.any()
    with pytest.raises(AssetError, match="it lacks bias and 1 more; use"):
        fill(layer, {}, "it")
    with pytest.raises(AssetError, match="has what this network does not: extra; use"):
        fill(layer, {**weights, "extra": torch.zeros(1)}, "it")
    with pytest.raises(AssetError, match=r"weight has shape \(3, 2\), here it is \(2, 3\)"):
        fill(layer, {**weights, "weight": torch.zeros(3, 2)}, "it")


def test_a_folder_with_only_a_pickle_is_converted_once(tmp_path: Path) -> None:
    folder = tmp_path / "assets" / "old"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    shared = torch.ones(2)
    torch.save({"a": shared, "tied": shared}, folder / "pytorch_model.bin")
    found = locate(tmp_path, "old")
    assert found != folder
    assert {path.name for path in found.iterdir()} == {"config.json", "model.safetensors"}
    assert tensors(found).keys() == {"a", "tied"}
    assert locate(tmp_path, "old") == found
