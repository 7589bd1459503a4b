"""The connector's warm start: before any LLM pass, its tokens learn to land on the words said about the media.

Not in the paper. Each token is compared with the LLM's own embedding table (cosine · temperature, softmax over
the words that occur); the mean over a file's tokens shall predict the words of its captions and answers. Rare words
count more, and a caption or an answer counts as much as its rarest word, however many it has. It costs under a
millisecond a sample and saves thousands of steps (docs/log.md).

Shapes: B = files, T = tokens, D = backbone width, V = words that occur.
"""

import math
import time
from collections import Counter
from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor
from tqdm import tqdm

from extend.data import by_media, media_of
from extend.processes import first
from extend.recipe import Warm
from extend.train import Curve
from modalities.base import Sample
from modalities.mllm import MLLM


def warm_start(model: MLLM, name: str, samples: Sequence[Sample], settings: Warm, seed: int) -> Curve:
    """Fit one connector to the words of the samples about its media; nothing else moves."""
    groups = [group for group in by_media(samples) if len(media_of(group[0])) == 1]
    if not groups:
        return Curve("warm start")
    media = [media_of(group[0])[0] for group in groups]
    bags = [_words(model, group) for group in groups]
    frequency = Counter(word for bag in bags for word in set().union(*bag))
    vocabulary = {word: place for place, word in enumerate(sorted(frequency))}
    rarity = torch.tensor([math.log(len(bags) / frequency[word]) for word in vocabulary])  # (V,)
    table = model.embedder.words(list(vocabulary)).detach().float()  # (V, D)
    table = torch.nn.functional.normalize(table, dim=-1)
    connector = model.embedder.connectors[name].requires_grad_(True).train()
    optimizer = torch.optim.AdamW(connector.parameters(), lr=settings.lr, weight_decay=settings.decay)
    plan = [order for epoch in range(settings.epochs) for order in _order(len(groups), settings.batch, seed + epoch)]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(plan))
    curve, began = Curve("warm start", samples=settings.epochs * len(groups)), time.monotonic()
    with tqdm(plan, desc="warm start", unit="step", disable=not first()) as bar:
        for order in bar:
            tokens = model.tokens([media[index] for index in order])
            hits = _hits(tokens, table, settings.temperature)  # (B, V)
            targets = _targets([bags[index] for index in order], vocabulary, rarity).to(hits.device)  # (B, V)
            loss = -(targets * hits.log()).sum(-1).mean()
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            curve.losses.append(loss.item())
            bar.set_postfix(loss=f"{loss.item():.3f}")
    connector.requires_grad_(False).eval()
    curve.seconds = time.monotonic() - began
    return curve


def _hits(tokens: Sequence[Tensor], table: Tensor, temperature: float) -> Tensor:
    """How much of each file's tokens, (T, D) each, lands on each word: (B, V)."""
    aimed = torch.nn.functional.normalize(torch.cat(list(tokens)).float(), dim=-1) @ table.T  # (B·T, V)
    landed = (temperature * aimed).softmax(-1).split([len(one) for one in tokens])  # (T, V) each
    return torch.stack([one.mean(0) for one in landed])


def _words(model: MLLM, group: Sequence[Sample]) -> list[set[int]]:
    """For each sample about one file, the token ids that its answers are made of, as they occur inside a sentence."""
    return [{id for answer in sample.answers for id in model.embedder.ids(" " + answer)} for sample in group]


def _targets(bags: Sequence[Sequence[set[int]]], vocabulary: dict[int, int], rarity: Tensor) -> Tensor:
    """Each file's words as a distribution, (B, V)."""
    rows = torch.zeros(len(bags), len(vocabulary))
    for row, bag in zip(rows, bags, strict=True):
        for words in bag:
            places = [vocabulary[word] for word in words]
            said = rarity[places]
            if said.sum() > 0:
                row[places] += said * said.max() / said.sum()
    return rows / rows.sum(-1, keepdim=True).clamp_min(1e-6)


def _order(count: int, size: int, seed: int) -> list[list[int]]:
    order = list(range(count))
    Random(seed).shuffle(order)
    return [order[start : start + size] for start in range(0, count, size)]
