"""Pretrain the point encoder on the training groups of the LDraw parts: many labels at once, nothing held out is seen.

    python -m modalities.pointcloud.pretrain --store store --out modalities/pointcloud/encoder.safetensors

Every label is read from the first token, the mean of the others, by one linear layer, so that whoever comes after (a
connector, a linear probe) finds it there too. It knows no LLM.

Shapes: P = parts, M = points drawn of each, B = batch, N = points seen, T = tokens, F = width of the tokens.
"""

import argparse
import copy
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from modalities.pointcloud.encoder import WIDTH, PointNetwork
from modalities.pointcloud.ldraw import Library, Record, stable
from modalities.pointcloud.naming import name
from modalities.pointcloud.sampling import CANDIDATES, POINTS, centred, farthest, surface

DRAWN, BATCH, RATE, DECAY = 1536, 32, 1.5e-3, 0.05
KEPT = 0.998  # of the averaged weights at every step
WORD_AT_LEAST = 8  # training parts that share a word, a type or a category


class Labels:
    """What is known of each part, as tensors; -1 and nan where nothing is."""

    def __init__(self, records: Sequence[Record]) -> None:
        names = [name(record.category, record.description, max(record.size)) for record in records]
        kinds = Counter(found.kind for found in names if found)
        said = [set(found.captions("")[0].replace(",", "").split()) if found else set() for found in names]
        self.words = sorted(word for word, n in Counter(w for one in said for w in one).items() if n >= WORD_AT_LEAST)
        self.kinds = sorted(kind for kind, n in kinds.items() if n >= WORD_AT_LEAST)
        self.categories = sorted({record.category for record in records})
        self.kind = torch.tensor([_index(self.kinds, found.kind if found else "") for found in names])  # (P,)
        self.category = torch.tensor([self.categories.index(record.category) for record in records])  # (P,)
        self.said = torch.tensor([[word in one for word in self.words] for one in said]).float()  # (P, words)
        self.said[torch.tensor([found is None for found in names])] = torch.nan
        self.facts = torch.tensor([_facts(record) for record in records])  # (P, 3)
        self.size = torch.tensor([record.size for record in records]).clamp_min(0.05).log()  # (P, 3)


class Heads(nn.Module):
    """One linear layer for each label, all on the mean of the tokens."""

    def __init__(self, labels: Labels) -> None:
        super().__init__()
        self.kind = nn.Linear(WIDTH, len(labels.kinds))
        self.category = nn.Linear(WIDTH, len(labels.categories))
        self.said = nn.Linear(WIDTH, len(labels.words))
        self.facts = nn.Linear(WIDTH, 3)
        self.size = nn.Linear(WIDTH, 3)
        self.colour = nn.Linear(WIDTH, 12)

    def loss(self, tokens: Tensor, labels: Labels, parts: Tensor, colour: Tensor) -> Tensor:
        mean = tokens[:, 0]  # (B, F)
        entropy = nn.CrossEntropyLoss(ignore_index=-1, label_smoothing=0.1)
        losses = (
            entropy(self.kind(mean), labels.kind[parts]),
            0.5 * entropy(self.category(mean), labels.category[parts]),
            0.5 * entropy(self.colour(mean), colour),
            10 * _known(nn.functional.binary_cross_entropy_with_logits, self.said(mean), labels.said[parts]),
            _known(nn.functional.binary_cross_entropy_with_logits, self.facts(mean), labels.facts[parts]),
            0.5 * _known(nn.functional.smooth_l1_loss, self.size(mean), labels.size[parts]),
        )
        return torch.stack(losses).sum()


def clouds(library: Library, records: Sequence[Record]) -> Tensor:
    """More points of each part than the network sees at once: (P, M, 3)."""
    drawn = torch.empty(len(records), DRAWN, 3, dtype=torch.float16)
    for i, record in enumerate(tqdm(records, desc="sampling surfaces", unit="part")):
        points = centred(surface(*library.mesh(record), CANDIDATES, stable(f"pretrain {record.id}"))[0])
        drawn[i] = torch.from_numpy(points[farthest(points, DRAWN)])
    return drawn


def augment(drawn: Tensor, shades: Sequence[Tensor], rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clouds as somebody else might have scanned and coloured them: (B, M, 3) -> (B, N, 6), colour words (B,)."""
    kept = torch.rand(len(drawn), DRAWN, generator=rng).argsort(1)[:, :POINTS]  # (B, N)
    points = drawn.gather(1, kept[:, :, None].expand(-1, -1, 3)).float()
    count = len(points)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=rng) * (high - low) + low

    angle = torch.randn(count, generator=rng) * 0.05 + (uniform(0, 1) < 0.1) * math.pi / 2
    sine, cosine, zero, one = angle.sin(), angle.cos(), torch.zeros(count), torch.ones(count)
    turn = torch.stack((cosine, zero, sine, zero, one, zero, -sine, zero, cosine), 1).view(-1, 3, 3)
    scale = uniform(0.9, 1.1, 1, 3)
    scale[:, 0, 0] *= (uniform(0, 1) < 0.5) * 2 - 1.0  # left parts become right ones
    xyz = (points * scale) @ turn + torch.randn(points.shape, generator=rng) * uniform(0, 0.015, 1, 1)
    low, high = xyz.amin(1, keepdim=True), xyz.amax(1, keepdim=True)
    xyz = (xyz - (low + high) / 2) * 2 / (high - low).amax(2, keepdim=True)

    colour = torch.randint(len(shades), (count,), generator=rng)
    pick = torch.randint(10**6, (count,), generator=rng)
    rgb = torch.stack([shades[c][p % len(shades[c])] for c, p in zip(colour.tolist(), pick.tolist(), strict=True)])
    rgb = rgb + torch.randn(count, 3, generator=rng) * 0.03
    rgb = rgb[:, None] + torch.randn(count, POINTS, 3, generator=rng) * 0.03
    plain = uniform(0, 1) < 0.1  # a file without colour
    rgb[plain] = 0.5
    return torch.cat((xyz, rgb.clamp(0, 1)), 2), colour.masked_fill(plain, -1)


def train(drawn: Tensor, labels: Labels, shades: Sequence[Tensor], epochs: int, seed: int) -> PointNetwork:
    """The network after training, its weights averaged over the last steps."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    network, heads = PointNetwork(), Heads(labels)
    average = copy.deepcopy(network)
    weights = [*network.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
    steps = epochs * (len(drawn) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.08)
    with tqdm(total=steps, desc="pretraining", unit="step", mininterval=5) as bar:
        for _ in range(epochs):
            for parts in torch.randperm(len(drawn), generator=rng)[: steps // epochs * BATCH].view(-1, BATCH):
                points, colour = augment(drawn[parts], shades, rng)
                loss = heads.loss(network(points), labels, parts, colour)
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                nn.utils.clip_grad_norm_(weights, 1.0)
                optimiser.step()
                schedule.step()
                with torch.no_grad():
                    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - KEPT)
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.2f}", refresh=False)
    for ours, theirs in zip(average.buffers(), network.buffers(), strict=True):
        ours.copy_(theirs)  # the batch norms' statistics
    return average


def _index(known: Sequence[str], one: str) -> int:
    return known.index(one) if one in known else -1


def _facts(record: Record) -> tuple[float, float, float]:
    studs = math.nan if record.studs is None else float(record.studs > 0)
    holes = math.nan if record.holes is None else float(record.holes > 0)
    return studs, holes, float(record.size[1] > max(record.size[0], record.size[2]))


def _known(loss, given: Tensor, wanted: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    known = ~wanted.isnan()
    value: Tensor = loss(given[known], wanted[known])
    return value


def seen(library: Library) -> list[Record]:
    """The parts that may be learned from: every one that is not held out, named or not."""
    return [record for record in library.records if not record.held_out]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m modalities.pointcloud.pretrain",
        description="Pretrain the point encoder on the LDraw parts that are for training.",
    )
    parser.add_argument("--store", type=Path, default=Path("store"), help="where the parts are fetched to")
    parser.add_argument("--out", type=Path, required=True, help="the weights to write (safetensors)")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", type=int, help="use only so many parts, for a quick try")
    options = parser.parse_args(argv)
    library = Library(options.store)
    records = seen(library)[: options.parts]
    shades = [torch.tensor(np.array(rgb), dtype=torch.float32) / 255 for rgb in library.colours.values()]
    network = train(clouds(library, records), Labels(records), shades, options.epochs, options.seed)
    state = network.state_dict()
    save_file({key: one.half() if one.is_floating_point() else one for key, one in state.items()}, options.out)


if __name__ == "__main__":
    main()
