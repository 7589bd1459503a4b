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
from extend.rounding import multiplies_bfloat16, rounded
from modalities.assemble import bare
from modalities.base import TEXT, Part, Sample
from modalities.checkpoint import Store, write
from modalities.mllm import MLLM

VERSION = 2  # of how they are made; part of their file's name
BATCH = 128  # prompts at once
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
        model = bare(store, recipe.base_llm, recipe.system)
        with rounded(model.llm, recipe.machine.rounded and multiplies_bfloat16()):
            made = list(_made(model, wanted, recipe.seed))
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
    questions = list(_questions(model, wanted.samples, seed))
    with tqdm(total=len(questions), desc="plain text, answers", unit="answer") as bar:
        for start in range(0, len(questions), BATCH):
            asked = questions[start : start + BATCH]
            prompts = [model.embedder.before + model.embedder.ids(text) + model.embedder.after for text in asked]
            for question, (answer, whole) in zip(asked, _said(model, prompts, wanted.tokens, False), strict=True):
                if answer:
                    yield {"question": question, "answer": answer, "whole": whole}
            bar.update(len(asked))


def _questions(model: MLLM, wanted: int, seed: int) -> Sequence[str]:
    """As many different user's turns as wanted, or as many as it can think of."""
    torch.manual_seed(seed)
    found: dict[str, None] = {}
    idle = 0
    with tqdm(total=wanted, desc="plain text, questions", unit="question") as bar:
        while len(found) < wanted and idle < ROUNDS:
            before = len(found)
            drawn = [text for text, whole in _said(model, [model.embedder.before] * BATCH, QUESTION, True) if whole]
            found |= dict.fromkeys(filter(_asks, drawn))
            idle = 0 if len(found) > before else idle + 1
            bar.update(min(len(found), wanted) - before)
    return list(found)[:wanted]


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
        top_p=None,
        top_k=50 if sample else 0,
        eos_token_id=end,
        pad_token_id=end,
    )
    rows: list[list[int]] = out[:, longest:].tolist()
    said = [(row[: row.index(end)], True) if end in row else (row, False) for row in rows]
    return [(model.embedder.tokenizer.decode(row, skip_special_tokens=True).strip(), whole) for row, whole in said]
