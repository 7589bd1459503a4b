"""One training step of a random Llama as extend takes it, and what it really cost: `python -m tests.extend.stepping`.

Prints one JSON object: the estimate of extend/plan.py and the measured peak, in bytes.
"""

import ctypes
import json
import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from extend.adapter import Adapter
from extend.machine import recomputing
from extend.plan import memory
from extend.recipe import Machine, Recipe, load


def resident(name: str) -> int:
    """VmRSS or VmHWM of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def step(config: LlamaConfig, recipe: Recipe, batch: int, length: int, answers: int) -> None:
    """Forward, loss on the answers, backward, AdamW."""
    llm = LlamaForCausalLM(config).eval().requires_grad_(False)
    recomputing(llm, recipe.machine.checkpointing)
    with Adapter(llm, recipe.lora) as adapter:
        for parameter in adapter.parameters:
            parameter.requires_grad_(True)
        optimizer = torch.optim.AdamW(adapter.parameters, lr=1e-4)
        embeds = torch.randn(batch, length, config.hidden_size, requires_grad=True)  # (B, L, D)
        mask = torch.ones(length, length, dtype=torch.bool).tril().expand(batch, 1, length, length)
        for _ in range(2):
            hidden = llm.base_model(inputs_embeds=embeds, attention_mask=mask, use_cache=False).last_hidden_state
            logits = llm.lm_head(hidden.flatten(0, 1)[:answers])  # (answers, V)
            torch.nn.functional.cross_entropy(logits.float(), torch.zeros(answers, dtype=torch.long)).backward()
            optimizer.step()
            optimizer.zero_grad()


def main(width: int, layers: int, batch: int, length: int, checkpointing: bool) -> None:
    """Estimate, then measure."""
    ctypes.CDLL("libc.so.6").mallopt(
        -3, 1 << 16
    )  # M_MMAP_THRESHOLD: freed tensors go back at once, and are not counted
    torch.set_num_threads(1)
    machine = Machine(checkpointing=checkpointing)
    recipe = load("embedded").model_copy(update={"machine": machine})
    shape = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers, "vocab_size": 8192}
    config = LlamaConfig(**shape, num_attention_heads=width // 64, num_key_value_heads=width // 64)  # type: ignore[arg-type]
    parts = memory(config, recipe, batch, length, batch * 15)
    tiny = LlamaConfig(**shape | {"hidden_size": 64, "num_hidden_layers": 1}, num_attention_heads=1)  # type: ignore[arg-type]
    step(tiny, recipe, 1, 16, 15)  # what libraries take when first used is not the model's
    before = resident("VmRSS")
    step(config, recipe, batch, length, batch * 15)
    estimate = parts["weights"] + parts["lora"] + parts["activations"]
    print(json.dumps({"estimate": estimate, "measured": resident("VmHWM") - before, "parts": parts}))


if __name__ == "__main__":
    wide, deep, many, long = (int(word) for word in sys.argv[1:5])
    main(wide, deep, many, long, sys.argv[5:] == ["--checkpointing"])
