"""The paper's parts, tiny and random, through everything: published files in, three stages of MERA, answers out."""

import asyncio
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.io import wavfile
from transformers import BertConfig, BertModel

from extend import run
from extend.recipe import Recipe, load
from modalities.assemble import assemble
from modalities.base import Part, find
from modalities.checkpoint import Checkpoint, Store
from modalities.encoders.pointbert import PointBert
from modalities.paper import audio, image, pointcloud
from modalities.qformer import BERT
from modalities.userdata import keep
from serving.deployment import in_process as deploy
from serving.engine import Sampling
from tests import pico
from tests.modalities import towers
from tests.modalities.test_beats import published

LLAMA3 = (
    "{% for message in messages %}{% set content = '<|im_start|>' + message['role'] + '<|im_end|>\n\n' "
    "+ message['content'] | trim + '<|endoftext|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant<|im_end|>\n\n' }}{% endif %}"
)  # Llama-3's own, with the pico tokenizer's special tokens in the places of its own

RECIPE = Recipe.model_validate(
    load("paper").model_dump() | {"base_llm": "pico", "machine": {}, "lora": {"rank": 2, "alpha": 2}, "replay": 1.0}
)
STAGES = ("modalities.paper.image", "tests.toy.little_audio", "tests.toy.little_points")


def media(name: str, seed: int) -> tuple[str, bytes]:
    rng = np.random.default_rng(seed)
    stream = io.BytesIO()
    if name == "image":
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(stream, "PNG")
        return "png", stream.getvalue()
    if name == "audio":
        wavfile.write(stream, 16000, (rng.standard_normal(4000) * 3000).astype(np.int16))
        return "wav", stream.getvalue()
    np.save(stream, rng.random((300, 6)).astype(np.float32))
    return "npy", stream.getvalue()


def folder(path: Path, name: str) -> Path:
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


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Checkpoint]]:
    root = tmp_path_factory.mktemp("paper")
    store = Store(root / "store")
    pico.backbone(store.assets / "pico")
    (store.assets / "pico" / "chat_template.jinja").write_text(LLAMA3)
    for file, changes in {
        "config.json": {"max_position_embeddings": 1024},
        "tokenizer_config.json": {"bos_token": "<|endoftext|>"},
    }.items():
        path = store.assets / "pico" / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    towers.clip(store.assets / image.CLIP)
    published(store.assets / audio.WEIGHTS)
    (store.assets / BERT).mkdir(parents=True)
    bert = BertModel(BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32))
    save_file(bert.state_dict(), store.assets / BERT / "model.safetensors")
    weights = {f"module.point_encoder.{name}": value for name, value in PointBert(depth=1).state_dict().items()}
    torch.save({"state_dict": weights}, store.assets / pointcloud.WEIGHTS)
    made: list[Checkpoint] = []
    for module in STAGES:
        modality = find(module)
        data = keep(store, modality, folder(root / modality.name, modality.name))
        made.append(run.add(store, module, RECIPE, parent=made[-1].id if made else None, data=data))
    return store, made


def test_each_stage_is_merged_with_the_paper_s_weight(taught: tuple[Store, list[Checkpoint]]) -> None:
    assert [round(delta.scale, 4) for delta in taught[1][-1].deltas] == [1.0, 0.5, 0.3333]


def test_realigning_moves_every_connector_again(taught: tuple[Store, list[Checkpoint]]) -> None:
    _, made = taught
    for before, after in zip(made, made[1:], strict=False):
        kept = [name for name in before.files if name.startswith("connectors/")]
        assert kept
        assert all(before.files[name] != after.files[name] for name in kept)


def test_the_encoders_are_named_by_their_weights(taught: tuple[Store, list[Checkpoint]]) -> None:
    kinds = {name: identity.split("-")[0] for name, identity in taught[1][-1].encoders.items()}
    assert kinds == {"image": "clip", "audio": "beats", "pointcloud": "pointbert"}


def test_it_answers_about_all_three_at_once(taught: tuple[Store, list[Checkpoint]]) -> None:
    store, made = taught

    async def ask() -> tuple[str, dict[str, int]]:
        deployment = deploy(store, made[-1].id)
        try:
            prompt = [Part(name, media(name, 2)[1]) for name in ("image", "audio", "pointcloud")]
            embedded = await deployment.embed([*prompt, Part("text", "What is it?")])
            answer = await deployment.answers([[*prompt, Part("text", "What is it?")]], Sampling(max_tokens=4))
            return answer[0], embedded.media_tokens
        finally:
            await deployment.close()

    answer, tokens = asyncio.run(ask())
    assert isinstance(answer, str)
    assert tokens == {"image": 16, "audio": 4, "pointcloud": 513}


def test_the_chat_template_is_the_backbone_s_own(taught: tuple[Store, list[Checkpoint]]) -> None:
    store, made = taught
    embedder = assemble(store, made[-1]).embedder
    assert embedder.tokenizer.decode(embedder.before) == "<|endoftext|><|im_start|>user<|im_end|>\n\n"
    assert embedder.tokenizer.decode(embedder.after) == "<|endoftext|><|im_start|>assistant<|im_end|>\n\n"
