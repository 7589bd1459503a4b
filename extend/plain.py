"""Plain text, replayed: questions and answers in the backbone's own words, so that it goes on answering as it did.

A backbone that is tuned on captions alone forgets how to talk; the paper never measured that. There is no text to
replay, for its training data are not ours; but asked for a user's turn it makes one up, and then answers it (Magpie,
Xu et al. 2024). It knows no modality and no method.

Shapes: B = batch, L = prompt length.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence

import torch
from tqdm import tqdm

from extend.recipe import Plain, Recipe
from modalities.assemble import bare
from modalities.base import TEXT, Part, Sample
from modalities.checkpoint import Store, write
from modalities.mllm import MLLM

VERSION = 1  # of how they are made; part of their file's name
BATCH = 32
QUESTION = 48  # tokens that a made-up question may have
SHORTEST = 3  # words; shorter ones ask nothing
ROUNDS = 20  # batches without a new question before it is given up


def plain(store: Store, recipe: Recipe) -> tuple[Sample, ...]:
    """What a recipe replays of plain text; made once for a backbone and kept in the store. Empty without [plain]."""
    wanted = recipe.plain
    if wanted is None:
        return ()
    path = store.data / f"plain-{_key(recipe, wanted)}.jsonl"
    if not path.is_file():
        made = list(_made(bare(store, recipe.base_llm, recipe.system), wanted, recipe.seed))
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in made).encode())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return tuple(
        Sample(f"plain-{number}", "qa", (Part(TEXT, line["question"]),), (line["answer"],), "plain", line["whole"])
        for number, line in enumerate(lines)
    )


def _key(recipe: Recipe, wanted: Plain) -> str:
    decides = [VERSION, recipe.base_llm, recipe.system, recipe.seed, wanted.samples, wanted.tokens]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]


def _made(model: MLLM, wanted: Plain, seed: int) -> Iterator[dict[str, object]]:
    """Question, answer, and whether the answer came to an end."""
    torch.manual_seed(seed)
    seen: dict[str, None] = {}
    idle = 0
    with tqdm(total=wanted.samples, desc="plain text", unit="answer") as bar:
        while len(seen) < wanted.samples and idle < ROUNDS:
            drawn = [text for text, whole in _said(model, [model.embedder.before] * BATCH, QUESTION, True) if whole]
            fresh = [text for text in dict.fromkeys(drawn) if _asks(text) and text not in seen]
            fresh = fresh[: wanted.samples - len(seen)]
            idle = 0 if fresh else idle + 1
            seen |= dict.fromkeys(fresh)
            prompts = [model.embedder.before + model.embedder.ids(text) + model.embedder.after for text in fresh]
            for question, (answer, whole) in zip(fresh, _said(model, prompts, wanted.tokens, False), strict=True):
                if answer:
                    yield {"question": question, "answer": answer, "whole": whole}
            bar.update(len(fresh))


def _asks(text: str) -> bool:
    return len(text.split()) >= SHORTEST and "\ufffd" not in text


@torch.inference_mode()
def _said(model: MLLM, prompts: Sequence[list[int]], tokens: int, sample: bool) -> list[tuple[str, bool]]:
    """What the backbone says after each prompt, and whether it came to an end by itself."""
    if not prompts:
        return []
    end = model.embedder.tokenizer.eos_token_id
    longest = max(map(len, prompts))
    ids = torch.tensor([[end] * (longest - len(one)) + one for one in prompts])  # (B, L), padded on the left
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
    out = model.llm.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=tokens,
        do_sample=sample,
        temperature=1.0 if sample else None,
        top_p=0.95 if sample else None,
        top_k=0 if sample else None,
        eos_token_id=end,
        pad_token_id=end,
    )
    rows: list[list[int]] = out[:, longest:].tolist()
    said = [(row[: row.index(end)], True) if end in row else (row, False) for row in rows]
    return [(model.embedder.tokenizer.decode(row, skip_special_tokens=True).strip(), whole) for row, whole in said]
