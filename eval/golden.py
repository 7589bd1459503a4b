"""Writes down what a checkpoint says for certain to a few plain prompts; serving/golden.py asks again after a swap.

Shapes: T = tokens of the prompt, D = backbone width, V = vocabulary.
"""

from collections.abc import Collection

import torch

from modalities.assemble import assemble
from modalities.base import TEXT, Part
from modalities.checkpoint import Checkpoint, Store, hash_file
from modalities.mllm import MLLM
from serving.deployment import ids_of
from serving.golden import FILE, Golden, save

PROMPTS = (
    "What is the capital of France?",
    "How many legs does a spider have?",
    "Say hello.",
    "Count from one to ten.",
    "What colour is the sky on a clear day?",
    "Repeat this word: banana.",
    "Who wrote Romeo and Juliet?",
    "Describe this.",
)
TOKENS = 12
CLEAR = (
    1.0  # logits between the first and the second choice; bfloat16 moves one by 0.3 at most (modalities/backbone.py)
)


def record(store: Store, checkpoint: Checkpoint) -> str:
    """Write golden.json beside a checkpoint, unless it is there; returns its sha256."""
    path = store.folder(checkpoint.id) / FILE
    if not path.is_file():
        model = assemble(store, checkpoint)
        ends = ids_of(model.llm.generation_config.eos_token_id, model.embedder.tokenizer.eos_token_id)
        save(store, checkpoint.id, tuple(Golden(prompt=one, tokens=certain(model, one, ends)) for one in PROMPTS))
    return hash_file(path)


@torch.inference_mode()
def certain(model: MLLM, prompt: str, ends: Collection[int], clear: float = CLEAR) -> tuple[int, ...]:
    """The greedy tokens after a prompt, as long as the second choice lies `clear` logits behind."""
    given = {"inputs_embeds": model.embedder.embed([Part(TEXT, prompt)]).embeds[None]}  # (1, T, D)
    tokens: list[int] = []
    cache = None
    for _ in range(TOKENS):
        out = model.llm(**given, past_key_values=cache, use_cache=True, logits_to_keep=1)
        (first, second), (token, _) = out.logits[0, -1].float().topk(2)  # of (V,)
        if first - second < clear or int(token) in ends:
            break
        tokens.append(int(token))
        cache, given = out.past_key_values, {"input_ids": token.reshape(1, 1)}
    return tuple(tokens)
