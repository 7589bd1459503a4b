"""Encoders of transformers by their folder: which layer, which tokens, and weights that do not fit."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from modalities.assets import AssetError
from modalities.encoders import sound, vision
from modalities.encoders.vision import FrameEncoder, halved
from tests.modalities import golden, towers

REAL: dict[str, Any] = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
REAL |= {"num_attention_heads": 16, "image_size": 336, "patch_size": 14, "projection_dim": 768}
READ_BY_CLIP: dict[str, Any] = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
READ_BY_CLIP |= {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
PATCHES = (towers.SIDE // towers.PATCH) ** 2


def picture(height: int = 80, width: int = 60, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def wave(seconds: float = 0.5) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.sin(np.arange(int(16000 * seconds)) / 20).astype(np.float32)


def test_clip_s_features_are_openai_s(tmp_path: Path) -> None:
    """Golden: the vision transformer of openai/CLIP at its real widths, three layers, their second's patches."""
    taken = {**READ_BY_CLIP, "image_processor_type": "CLIPImageProcessor"}
    seen = {**REAL, "num_hidden_layers": 3}
    CLIPConfig(vision_config=seen, text_config=towers.READ, projection_dim=768).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(taken))
    save_file(golden.weights(sighted(layers=3)), tmp_path / "model.safetensors", {"format": "pt"})
    features = vision.load(tmp_path, str(tmp_path))(
        [np.random.default_rng(4).integers(0, 256, (336, 336, 3), np.uint8)]
    )
    assert features[0].shape == (576, 1024)
    assert (features[0][::32] - golden.outputs("clip")["features"]).abs().max() < 1e-4


def test_the_published_keys_fit_with_none_missing_and_none_left_over() -> None:
    with torch.device("meta"):
        network = CLIPVisionModel(CLIPVisionConfig(**REAL))
    found = {name.removeprefix("vision_model."): tuple(value.shape) for name, value in network.state_dict().items()}
    assert found == {name.removeprefix("vision_model."): tuple(shape) for name, shape in sighted().items()}


def test_positions_that_were_saved_with_the_weights_are_nothing_left_over(tmp_path: Path) -> None:
    """CLIP's published files are older than transformers' way to count positions anew."""
    towers.clip(tmp_path / "clip")
    saved = {f"{one}_model.embeddings.position_ids": torch.arange(17)[None] for one in ("vision", "text")}
    rewritten(tmp_path / "clip", lambda weights: weights.update(saved))
    assert vision.load(tmp_path, str(tmp_path / "clip")).width == 16


def sighted(layers: int | None = None) -> dict[str, list[int]]:
    """The seeing half of CLIP-ViT-L/14-336's published keys that hold weights."""
    published = golden.shapes("clip", layers)
    return {k: s for k, s in published.items() if k.startswith("vision_model.") and not k.endswith("position_ids")}


def test_clip_s_features_are_those_that_llava_takes(tmp_path: Path) -> None:
    """The penultimate layer without the class token, against transformers' LLaVA with the same tower."""
    encoder = vision.load(tmp_path, str(towers.clip(tmp_path / "clip")))
    tower = CLIPVisionModel.from_pretrained(tmp_path / "clip")
    text = LlamaConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=40)
    llava = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=tower.config, text_config=text, image_token_index=39, projector_hidden_act="gelu")
    ).eval()
    llava.model.vision_tower.load_state_dict(tower.state_dict())
    llava.model.multi_modal_projector = torch.nn.Identity()
    pixels = encoder.processor(images=[picture()], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = llava.get_image_features(pixel_values=pixels).pooler_output
    assert (encoder([picture()])[0] - expected[0]).abs().max() < 1e-4
    assert expected[0].shape == (PATCHES, 16)


@pytest.mark.parametrize("make", [towers.clip, towers.siglip, towers.dinov2])
def test_any_vision_tower_gives_its_patches_of_any_picture(tmp_path: Path, make: Any) -> None:
    encoder = vision.load(tmp_path, str(make(tmp_path / "tower")))
    tokens = encoder([picture(), picture(30, 200)])
    assert [one.shape for one in tokens] == [(PATCHES, 16)] * 2
    with torch.no_grad():
        pixels = encoder.processor(images=[picture()], return_tensors="pt")["pixel_values"]
        states = encoder.network(pixels, output_hidden_states=True).hidden_states
    assert torch.allclose(tokens[0], states[-2][0, -PATCHES:], atol=1e-5)
    assert vision.load(tmp_path, str(tmp_path / "tower"), layer=-1).identity != encoder.identity


def test_frames_are_halved_and_follow_one_another(tmp_path: Path) -> None:
    pictures = vision.load(tmp_path, str(towers.clip(tmp_path / "clip")))
    encoder = FrameEncoder(pictures)
    frames = [picture(seed=seed) for seed in range(3)]
    tokens = encoder([frames])[0]
    assert tokens.shape == (3 * PATCHES // 4, 16)
    assert torch.allclose(tokens[: PATCHES // 4], halved(pictures(frames[:1])[0]))
    assert encoder.identity != pictures.identity


def test_halving_is_the_mean_of_four_neighbours() -> None:
    grid = torch.arange(16.0)[:, None]
    assert halved(grid).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


@pytest.mark.parametrize(("make", "tokens"), [(towers.whisper, 50), (towers.ast, 7)])
def test_any_sound_model_hears(tmp_path: Path, make: Any, tokens: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mel filters that a tiny model leaves empty
        encoder = sound.load(tmp_path, str(make(tmp_path / "ears")))
    heard = encoder([wave(), wave(0.2)])
    assert [one.shape[1] for one in heard] == [16, 16]
    assert len(heard[0]) == len(heard[1])
    assert len(heard[0]) == tokens
    assert (heard[0] - heard[1]).abs().max() > 1e-4


def rewritten(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_one_missing_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    towers.clip(tmp_path / "clip")
    rewritten(tmp_path / "clip", lambda weights: weights.pop("vision_model.encoder.layers.2.mlp.fc1.weight"))
    with pytest.raises(AssetError, match=r"clip lacks .*encoder\.layers\.2\.mlp\.fc1\.weight"):
        vision.load(tmp_path, str(tmp_path / "clip"))


def test_one_key_too_many_is_an_error_that_names_it(tmp_path: Path) -> None:
    towers.clip(tmp_path / "clip")
    rewritten(tmp_path / "clip", lambda weights: weights.update({"vision_model.more.weight": torch.zeros(1)}))
    with pytest.raises(AssetError, match=r"does not: .*more\.weight"):
        vision.load(tmp_path, str(tmp_path / "clip"))


def test_folders_that_are_not_whole_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssetError, match=r"empty has no config\.json with \.safetensors"):
        vision.load(tmp_path, str(tmp_path / "empty"))
    towers.clip(tmp_path / "clip")
    (tmp_path / "clip" / "preprocessor_config.json").unlink()
    with pytest.raises(AssetError, match="no preprocessor_config"):
        vision.load(tmp_path, str(tmp_path / "clip"))
    with pytest.raises(AssetError, match="no preprocessor_config"):
        sound.load(tmp_path, str(tmp_path / "clip"))
