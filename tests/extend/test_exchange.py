"""What goes out and comes in: merged weights and adapters against plain transformers and PEFT, LLaVA against itself."""

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from extend import RunError
from extend.adopt import adopt
from extend.export import export
from modalities import llava
from modalities.assemble import assemble, folded
from modalities.assets import AssetError
from modalities.base import Part
from modalities.checkpoint import Store
from modalities.paper import image
from tests import pico
from tests.modalities import towers
from tests.serving.running import serve, text

PROMPT = torch.tensor([[1, 40, 50, 60, 70, 80, 90, 100]])


@torch.no_grad()
def logits(llm: Any, **inputs: Tensor) -> Tensor:
    out: Tensor = llm.eval()(**(inputs or {"input_ids": PROMPT})).logits
    return out


@pytest.fixture
def three(pico_store: Store) -> tuple[Store, str]:
    """A checkpoint of three stages."""
    return pico_store, pico.checkpoint(pico_store, 3).id


def test_merged_weights_answer_in_plain_transformers_as_the_served_ones_do(
    three: tuple[Store, str], tmp_path: Path
) -> None:
    store, id = three
    files = export(store, id, tmp_path / "out")
    assert {"config.json", "model.safetensors", "tokenizer.json", "connectors/tone.safetensors"} <= set(files)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert (logits(plain) - logits(assemble(store, store.load(id)).llm)).abs().max() < 1e-4
    assert (logits(plain) - logits(AutoModelForCausalLM.from_pretrained(store.assets / "pico"))).abs().max() > 0.1
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    said = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert str(said).startswith("<|im_start|>")


def test_one_adapter_is_the_sum_of_all_stages(three: tuple[Store, str], tmp_path: Path) -> None:
    store, id = three
    export(store, id, tmp_path / "out", form="adapter")
    base = AutoModelForCausalLM.from_pretrained(store.assets / "pico", dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, str(tmp_path / "out"))
    assert (logits(adapted) - logits(folded(store, store.load(id)).llm)).abs().max() < 1e-4
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["r"] == 6


def test_half_precision_is_rounded_once(three: tuple[Store, str], tmp_path: Path) -> None:
    store, id = three
    export(store, id, tmp_path / "out", precision="bfloat16")
    weights, exact = load_file(tmp_path / "out" / "model.safetensors"), folded(store, store.load(id)).llm.state_dict()
    assert all(torch.equal(value, exact[name].bfloat16()) for name, value in weights.items())


def test_an_export_never_writes_over_anything(three: tuple[Store, str], tmp_path: Path) -> None:
    store, id = three
    (tmp_path / "out").mkdir()
    for form, precision, target, complaint in (
        ("merged", "float32", "out", "out is there already"),
        ("onnx", "float32", "new", r"there are: merged, adapter\.$"),
        ("gguf", "float32", "new", "there are: merged, adapter. A GGUF is made of the merged one by"),
        ("merged", "int4", "new", "there are: float32"),
    ):
        with pytest.raises(RunError, match=complaint):
            export(store, id, tmp_path / target, form=form, precision=precision)
    assert not list((tmp_path / "out").iterdir())
    assert not (tmp_path / "new").exists()


@pytest.fixture
def llava_folder(tmp_path: Path) -> tuple[Store, Path, Any]:
    """A store with a tiny CLIP, and a tiny LLaVA that sees through it, as transformers saves it."""
    store = Store(tmp_path / "store")
    towers.clip(store.assets / image.CLIP)
    tower = CLIPVisionModel.from_pretrained(store.assets / image.CLIP)
    pico.backbone(tmp_path / "llava")
    text = LlamaConfig.from_pretrained(tmp_path / "llava")
    text.tie_word_embeddings = False
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=tower.config, text_config=text, image_token_index=383, image_seq_length=16)
    ).eval()
    model.model.vision_tower.load_state_dict(tower.state_dict())
    for file in ("model.safetensors", "chat_template.jinja"):
        (tmp_path / "llava" / file).unlink()
    model.save_pretrained(tmp_path / "llava")
    return store, tmp_path / "llava", model


def as_original(folder: Path) -> None:
    """The same in LLaVA's own layout: the tower not saved, one flat config."""
    weights = {}
    for key, value in load_file(folder / "model.safetensors").items():
        if key.startswith("multi_modal_projector"):
            number = {"linear_1": 0, "linear_2": 2}[key.split(".")[1]]
            weights[f"model.mm_projector.{number}.{key.split('.')[2]}"] = value
        elif key.startswith("language_model."):
            weights[key.removeprefix("language_model.")] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())["text_config"]
    config |= {"model_type": "llava_llama", "mm_vision_select_layer": -2, "mm_projector_type": "mlp2x_gelu"}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("original", [False, True])
def test_an_imported_llava_sees_and_says_what_it_did(llava_folder: tuple[Store, Path, Any], original: bool) -> None:
    store, folder, reference = llava_folder
    if original:
        as_original(folder)
    made = adopt(store, folder, "modalities.paper.image")
    assert (made.stage, made.modalities, made.deltas) == (1, ("modalities.paper.image",), ())
    model = assemble(store, store.load(made.id))
    embedder = model.embedder
    assert embedder.tokenizer.decode(embedder.after) == " ASSISTANT:", "Vicuna's template, where none came along."

    picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    encoder: Any = embedder.encoder("image")
    seen = embedder.project("image", encoder([picture])[0][None])[0]
    asked = embedder.ids("What is this?") + embedder.after
    mine = torch.cat([embedder.words(embedder.before), seen, embedder.words(asked)])[None]
    ids = torch.tensor([[*embedder.before, *[383] * 16, *asked]])
    pixels = encoder.processor(images=[picture], return_tensors="pt")["pixel_values"]
    expected = logits(reference, input_ids=ids, pixel_values=pixels)
    assert (logits(model.llm, inputs_embeds=mine) - expected).abs().max() < 1e-4
    assert embedder.embed([Part("text", "hi")]).text_tokens > 0


def test_an_imported_llava_answers_through_the_server_with_its_own_logits(
    llava_folder: tuple[Store, Path, Any],
) -> None:
    """What the server gives its engine: LLaVA's logits within 1e-4, but for features, which are kept in float16."""
    store, folder, reference = llava_folder
    reference.model.multi_modal_projector.register_forward_pre_hook(lambda module, seen: (seen[0].half().float(),))
    picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    parts = [Part("image", stream.getvalue()), Part("text", "What is this?")]
    made = adopt(store, folder, "modalities.paper.image")
    with serve(store, made.id) as server:
        embedder = server.live.current.embedder
        ids = torch.tensor([[*embedder.before, *[383] * 16, *embedder.ids("What is this?"), *embedder.after]])
        encoder: Any = embedder.encoder("image")
        pixels = encoder.processor(images=[picture], return_tensors="pt")["pixel_values"]
        expected = logits(reference, input_ids=ids, pixel_values=pixels)
        served = logits(server.engine._batch.model, inputs_embeds=embedder.embed(parts).embeds[None])
        assert (served - expected).abs().max() < 1e-4
        answer = server.ask(
            {"image": base64.b64encode(stream.getvalue()).decode()}, text("What is this?"), max_tokens=12
        )
        said = reference.generate(input_ids=ids, pixel_values=pixels, max_new_tokens=12, do_sample=False)
        wanted = [token for token in said[0, ids.shape[1] :].tolist() if token != embedder.tokenizer.eos_token_id]
        assert answer.json()["text"] == embedder.tokenizer.decode(wanted)
        assert answer.json()["checkpoint"] == made.id
        assert len(wanted) > 3


def test_a_llava_of_another_kind_is_refused_in_one_line(llava_folder: tuple[Store, Path, Any], tmp_path: Path) -> None:
    store, folder, _ = llava_folder
    weights = load_file(folder / "model.safetensors")

    def refused(complaint: str, changed: dict[str, Tensor]) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        save_file(changed, copy / "model.safetensors", {"format": "pt"})
        with pytest.raises(AssetError, match=complaint) as error:
            adopt(store, copy, "modalities.paper.image")
        assert str(tmp_path) not in str(error.value)
        shutil.rmtree(copy)

    norm = "language_model.model.norm.weight"
    tower = "vision_tower.pre_layrnorm.weight"
    refused("lacks model.norm.weight", {key: value for key, value in weights.items() if key != norm})
    refused("pre_layrnorm.weight differs", weights | {tower: weights[tower] + 1})
    refused("no projector of two", {key: value for key, value in weights.items() if "linear_2" not in key})
    with pytest.raises(AssetError, match="takes layer -2"):
        llava.check_encoder(llava.read(store.root, folder), nn.Module())  # type: ignore[arg-type]
    with pytest.raises(RunError, match="no folder 'nothing'"):
        adopt(store, tmp_path / "nothing", "modalities.paper.image")
    with pytest.raises(AssetError, match=r"no config\.json"):
        adopt(store, store.root, "modalities.paper.image")
    assert store.ids() == []
