"""Backbones of other families than Llama learn a modality, answer, and are exported, by the same code."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig, Qwen2Config, Qwen3Config

from extend import run
from extend.export import export
from extend.recipe import Recipe
from modalities.assemble import assemble
from modalities.base import Part
from modalities.checkpoint import Store
from modalities.deltas import read_delta
from serving.deployment import in_process
from serving.engine import Sampling
from tests import pico
from tests.extend.recipes import VALUES

SHORT = Recipe.model_validate(VALUES | {"tune": {**VALUES["tune"], "epochs": 1}})  # type: ignore[dict-item]
END = 2
SHAPE: dict[str, Any] = {
    "vocab_size": pico.VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 256,
    "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": END, "pad_token_id": 0, "tie_word_embeddings": False,
}  # fmt: skip
PROMPT = [Part("tone", pico.tone()), Part("text", "What do you hear?")]


@pytest.mark.parametrize("family", [Qwen2Config, Qwen3Config, MistralConfig])
def test_a_backbone_of_another_family_learns_answers_and_is_exported(tmp_path: Path, family: Any) -> None:
    store = Store(tmp_path / "store")
    folder = store.assets / "other"
    pico.backbone(folder)  # for its tokenizer
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(family(**SHAPE)).save_pretrained(folder)
    made = run.add(store, "tests.toy.tone", SHORT.model_copy(update={"base_llm": "other"}), parent=None)
    learned = read_delta(store.folder(made.id) / made.deltas[0].path, 1.0)
    assert len(learned) == 2 * 7, "LoRA on every linear layer."

    export(store, made.id, tmp_path / "out")
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    model = assemble(store, made)
    embeds = model.embedder.embed(PROMPT).embeds[None]
    with torch.no_grad():
        assert (plain(inputs_embeds=embeds).logits - model.llm(inputs_embeds=embeds).logits).abs().max() < 1e-4
        said = plain.generate(inputs_embeds=embeds, max_new_tokens=8, do_sample=False)[0].tolist()

    async def ask() -> list[int]:
        deployment = in_process(store, made.id)
        tokens = [token async for token in deployment.engine.stream(embeds[0], Sampling(8))]
        await deployment.close()
        return tokens

    assert asyncio.run(ask()) == said[: said.index(END) if END in said else None] != []
