"""The paper's model, tiny and random: every encoder's published file, a Llama with Llama-3's template, four stages.

Widths are small, all else is the real code: files are converted, features encoded, four modalities learned by MERA.
"""

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.io import wavfile
from transformers import BertConfig, BertModel

from extend import run
from extend.recipe import Recipe, load
from modalities.base import find
from modalities.checkpoint import Checkpoint, Store
from modalities.encoders.pointbert import PointBert
from modalities.paper import audio, image, pointcloud
from modalities.qformer import BERT
from modalities.userdata import keep
from tests import pico
from tests.modalities import towers
from tests.modalities.test_beats import published

RECIPE = Recipe.model_validate(
    load("paper").model_dump() | {"base_llm": "pico", "machine": {}, "lora": {"rank": 2, "alpha": 2}, "replay": 1.0}
)
STAGES = {
    "image": "modalities.paper.image",
    "video": "modalities.paper.video",
    "audio": "tests.toy.little_audio",
    "pointcloud": "tests.toy.little_points",
}
CONTEXT = 1024  # a point cloud is 513 tokens


def media(name: str, seed: int) -> tuple[str, bytes]:
    """The suffix and the bytes of a file of a modality."""
    rng = np.random.default_rng(seed)
    stream = io.BytesIO()
    if name == "image":
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(stream, "PNG")
        return "png", stream.getvalue()
    if name == "video":
        first, *rest = [Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)) for _ in range(6)]
        first.save(stream, "GIF", save_all=True, append_images=rest, duration=250)
        return "gif", stream.getvalue()
    if name == "audio":
        wavfile.write(stream, 16000, (rng.standard_normal(4000) * 3000).astype(np.int16))
        return "wav", stream.getvalue()
    np.save(stream, rng.random((300, 6)).astype(np.float32))
    return "npy", stream.getvalue()


def weights(store: Store) -> None:
    """Every published file of the paper's parts, where the run-book puts it."""
    pico.backbone(store.assets / "pico", dialect=pico.LLAMA3, context=CONTEXT)
    torch.manual_seed(0)
    towers.clip(store.assets / image.CLIP)
    published(store.assets / audio.WEIGHTS)
    (store.assets / BERT).mkdir(parents=True)
    bert = BertModel(BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32))
    save_file(bert.state_dict(), store.assets / BERT / "model.safetensors")
    points = {f"module.point_encoder.{name}": value for name, value in PointBert(depth=1).state_dict().items()}
    torch.save({"state_dict": points}, store.assets / pointcloud.WEIGHTS)


def folder(path: Path, name: str) -> Path:
    """A user's folder with two files to train on and one to test on."""
    path.mkdir()
    for split, seeds in {"train": (0, 1), "test": (2,)}.items():
        lines = []
        for seed in seeds:
            suffix, data = media(name, seed)
            (path / f"{seed}.{suffix}").write_bytes(data)
            common = {"media": f"{seed}.{suffix}", "answers": [("low", "high", "middle")[seed]]}
            lines.append({"id": f"c{seed}", "task": "caption", **common})
            lines.append({"id": f"q{seed}", "task": "qa", "question": "What is it?", **common})
        (path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return path


def taught(root: Path) -> tuple[Store, list[Checkpoint]]:
    """A store, and the checkpoints of the four stages in the paper's order."""
    store = Store(root / "store")
    weights(store)
    made: list[Checkpoint] = []
    for name, module in STAGES.items():
        data = keep(store, find(module), folder(root / name, name))
        made.append(run.add(store, module, RECIPE, parent=made[-1].id if made else None, data=data))
    return store, made
