"""Text-only ability: how well a checkpoint still says what its backbone says to plain prompts.

    python -m eval plain [--backbone NAME]      makes the backbone's answers anew

The backbone's own greedy answers are the reference, so nobody's opinion of a good answer enters: the measure is their
mean token loss under the checkpoint, against their loss under θ_0. An answer that was cut at the length limit has no
end-of-sequence token, for the backbone never said it. It knows no modality and no threshold.

Shapes: B = answers, L = tokens of the longest prompt with its answer, D = backbone width, V = vocabulary.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import FiniteFloat
from torch import Tensor, nn
from tqdm import tqdm

from eval.report import Frozen
from modalities.assemble import assemble, bare
from modalities.checkpoint import Checkpoint, Store, write
from modalities.mllm import MLLM
from serving.deployment import ids_of

DATA = Path(__file__).with_name("data")
PROMPTS: tuple[str, ...] = tuple(json.loads((DATA / "prompts.json").read_text()))
TOKENS = 48  # an answer is cut here
BATCH = 16


class Answer(Frozen):
    """A prompt and what the backbone says to it, greedily."""

    prompt: str
    tokens: tuple[int, ...]  # with the token that ends it where the backbone said one
    loss: FiniteFloat  # of all these tokens together under θ_0, in nats


class Answers(Frozen):
    """What a backbone says to all prompts."""

    base_llm: str
    system: str | None
    answers: tuple[Answer, ...]

    @property
    def digest(self) -> str:
        """The identity of these answers."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]


class Said(Frozen):
    """The loss of one answer under θ_0 and under a checkpoint: kept, so that judging again needs no model."""

    prompt: str
    tokens: int
    reference: FiniteFloat
    loss: FiniteFloat


def measure(store: Store, checkpoint: Checkpoint, folder: Path) -> list[Said]:
    """The loss of each of the backbone's answers under a checkpoint; kept in `folder`, and read again from there."""
    found = answers_of(store, checkpoint.base_llm, checkpoint.system)
    path = folder / f"plain text.{found.digest}.jsonl"
    if not path.is_file():
        model = assemble(store, checkpoint)
        losses = losses_of(model, [(one.prompt, one.tokens) for one in found.answers])
        said = [
            Said(prompt=one.prompt, tokens=len(one.tokens), reference=one.loss, loss=loss)
            for one, loss in zip(found.answers, losses, strict=True)
        ]
        write(path, "".join(one.model_dump_json() + "\n" for one in said).encode())
    return [Said.model_validate_json(line) for line in path.read_bytes().splitlines()]


def answers_of(store: Store, base_llm: str, system: str | None) -> Answers:
    """A backbone's answers: those that ship, else those that the store keeps, else made now."""
    name = file_name(base_llm, system)
    for path in (DATA / name, store.root / "plain" / name):
        if path.is_file():
            found = Answers.model_validate_json(path.read_bytes())
            if tuple(one.prompt for one in found.answers) == PROMPTS:
                return found
    made = make(store, base_llm, system)
    save(store.root / "plain" / name, made)
    return made


def file_name(base_llm: str, system: str | None) -> str:
    """The file of a backbone's answers under a system message."""
    digest = hashlib.sha256(json.dumps([base_llm, system]).encode()).hexdigest()[:8]
    return f"plain-{base_llm.rpartition('/')[2]}-{digest}.json"


def save(path: Path, answers: Answers) -> None:
    """Write a backbone's answers, a line each."""
    head = f'{{"base_llm": {json.dumps(answers.base_llm)}, "system": {json.dumps(answers.system)}, "answers": [\n'
    write(path, (head + ",\n".join(one.model_dump_json() for one in answers.answers) + "\n]}\n").encode())


def make(store: Store, base_llm: str, system: str | None) -> Answers:
    """Ask the backbone alone."""
    model = bare(store, base_llm, system)
    tokens = greedy(model, PROMPTS)
    losses = losses_of(model, list(zip(PROMPTS, tokens, strict=True)))
    answers = [
        Answer(prompt=prompt, tokens=said, loss=round(loss, 6))
        for prompt, said, loss in zip(PROMPTS, tokens, losses, strict=True)
    ]
    return Answers(base_llm=base_llm, system=system, answers=tuple(answers))


@torch.inference_mode()
def greedy(model: MLLM, prompts: Sequence[str]) -> list[tuple[int, ...]]:
    """The greedy answer to each prompt, up to the token that ends it, or TOKENS of them."""
    ends = sorted(ids_of(model.llm.generation_config.eos_token_id, model.embedder.tokenizer.eos_token_id))
    said: dict[int, tuple[int, ...]] = {}
    for places in tqdm(_alike([len(_asked(model, one)) for one in prompts]), desc="backbone", unit="batch"):
        ids = torch.tensor([_asked(model, prompts[place]) for place in places])  # (B, L)
        tokens, cache, given = [], None, {"input_ids": ids}
        for _ in range(TOKENS):
            out = model.llm(**given, past_key_values=cache, use_cache=True, logits_to_keep=1)
            tokens.append(out.logits[:, -1].argmax(-1))  # (B,)
            cache, given = out.past_key_values, {"input_ids": tokens[-1][:, None]}
            if torch.isin(torch.stack(tokens), torch.tensor(ends)).any(0).all():
                break
        for place, row in zip(places, torch.stack(tokens, 1).tolist(), strict=True):
            end = next((n for n, token in enumerate(row) if token in ends), len(row))
            said[place] = tuple(row[: end + 1])
    return [said[place] for place in range(len(prompts))]


@torch.inference_mode()
def losses_of(model: MLLM, answers: Sequence[tuple[str, Sequence[int]]]) -> list[float]:
    """The loss of each answer's tokens after its prompt, summed, in nats."""
    rows = [(_asked(model, prompt), list(tokens)) for prompt, tokens in answers]
    order = sorted(range(len(rows)), key=lambda place: sum(map(len, rows[place])))
    out = [0.0] * len(rows)
    for start in tqdm(range(0, len(order), BATCH), desc="plain text", unit="batch"):
        places = order[start : start + BATCH]
        for place, loss in zip(places, _losses(model, [rows[place] for place in places]), strict=True):
            out[place] = loss
    return out


def _losses(model: MLLM, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
    longest = max(len(asked) + len(said) for asked, said in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)  # (B, L)
    labels = torch.full_like(ids, -100)
    for row, (asked, said) in enumerate(rows):
        ids[row, : len(asked) + len(said)] = torch.tensor([*asked, *said])
        labels[row, len(asked) - 1 : len(asked) + len(said) - 1] = torch.tensor(said)  # each token's successor
    hidden = model.llm.base_model(input_ids=ids, use_cache=False).last_hidden_state  # (B, L, D)
    wanted = labels != -100  # what is padded lies behind, where a causal model does not look
    logits: Tensor = model.llm.get_output_embeddings()(hidden[wanted]).float()  # (answer tokens, V)
    each = nn.functional.cross_entropy(logits, labels[wanted], reduction="none")
    return [float(one.sum()) for one in each.split([len(said) for _, said in rows])]


def _asked(model: MLLM, prompt: str) -> list[int]:
    """A prompt's tokens with the chat template around them."""
    return [*model.embedder.before, *model.embedder.ids(prompt), *model.embedder.after]


def _alike(lengths: Sequence[int]) -> list[list[int]]:
    """Places of equal length together, at most BATCH of them: a batch without padding gives what one alone gives."""
    groups: dict[int, list[int]] = {}
    for place, length in enumerate(lengths):
        groups.setdefault(length, []).append(place)
    return [group[start : start + BATCH] for group in groups.values() for start in range(0, len(group), BATCH)]
