"""Pretraining of the sound encoder: which program plays, how many notes, which way, how fast, how high.

    python -m modalities.audio.pretrain --store store --out modalities/audio/encoder.safetensors

Rendered anew from the training fonts alone, with melodies of the training side alone; the phrases of the datasets
are others. Sounds are equalised, shifted in time and pitch, drowned in noise and cut, so that the recordings of
an unseen font do not come as a surprise. Every General MIDI program is learned from, named or not.

Shapes: B = batch, P = phrases, M = mel bands, L = frames, T = tokens, F = width of the tokens.
"""

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from modalities.audio.encoder import BANDS, FRAMES, WIDTH, SoundNetwork, pictures, windows
from modalities.audio.fonts import TRAIN, play
from modalities.audio.instruments import REGISTERS, events, instruments
from modalities.audio.phrases import MOST, Phrase, compose, linger

PROGRAMS = 128
BATCH, RATE, DECAY = 32, 1.5e-3, 0.05
KEPT = 0.998  # of the averaged weights at every step
SPEEDS, DIRECTIONS = ("fast", "slow"), ("rising", "falling", "repeated", "up and down")
NAMES = [*(one.name for one in instruments()), *(one.name for one in events())]
FAMILIES = list(dict.fromkeys(one.family for one in instruments()))


class Labels:
    """What is known of each phrase, as tensors (P,); -1 where nothing is."""

    def __init__(self, programs: Sequence[int], phrases: Sequence[Phrase]) -> None:
        known = {program: one for one in instruments() for program in one.programs}
        others = {one.program: one.name for one in events()}
        names = [known[p].name if p in known else others.get(p, "") for p in programs]
        self.program = torch.tensor(programs)
        self.name = torch.tensor([_index(NAMES, name) for name in names])
        self.family = torch.tensor([_index(FAMILIES, known[p].family if p in known else "") for p in programs])
        self.count = torch.tensor(
            [len(one.keys) - 1 if p not in others else -1 for p, one in zip(programs, phrases, strict=True)]
        )
        self.direction = torch.tensor([_index(DIRECTIONS, one.direction) for one in phrases])
        self.speed = torch.tensor([_index(SPEEDS, one.speed) for one in phrases])
        self.register = torch.tensor([_index(tuple(REGISTERS.values()), one.register) for one in phrases])


class Heads(nn.Module):
    """One linear layer for each label, all on the mean of the tokens."""

    SIZES = (
        ("program", PROGRAMS, 1.0),
        ("name", len(NAMES), 1.0),
        ("family", len(FAMILIES), 0.5),
        ("count", MOST, 0.5),
        ("direction", len(DIRECTIONS), 0.5),
        ("speed", len(SPEEDS), 0.2),
        ("register", len(REGISTERS), 0.3),
    )

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({label: nn.Linear(WIDTH, size) for label, size, _ in self.SIZES})

    def loss(self, tokens: Tensor, labels: Labels, chosen: Tensor) -> Tensor:
        mean = tokens[:, 0].float()  # (B, F)
        entropy = nn.CrossEntropyLoss(ignore_index=-1, label_smoothing=0.1)
        losses = []
        for label, _, weight in self.SIZES:
            wanted: Tensor = getattr(labels, label)[chosen]
            if (wanted >= 0).any():
                losses.append(weight * entropy(self.heads[label](mean), wanted))
        return torch.stack(losses).sum()


def render(store: Path, each: int) -> tuple[Tensor, Labels]:
    """`each` phrases of every program on every training font: pictures (P, M, L) in float16, and their labels."""
    programs: list[int] = []
    phrases: list[Phrase] = []
    seen = torch.empty(PROGRAMS * len(TRAIN) * each, BANDS, FRAMES, dtype=torch.float16)
    with tqdm(total=len(seen), desc="rendering", unit="phrase") as bar:
        for font in TRAIN:
            for program in range(PROGRAMS):
                random = Random(f"pretrain {font.name} {program}")
                for _ in range(each):
                    phrase = phrase_of(program, random)
                    wave = play(store, font, program, phrase).astype(np.float32) / np.float32(2**15)
                    seen[bar.n] = pictures(windows(wave)[:1])[0].half()
                    programs.append(program)
                    phrases.append(phrase)
                    bar.update()
    return seen, Labels(programs, phrases)


def phrase_of(program: int, random: Random) -> Phrase:
    """What a program could play, from the melodies that are for training."""
    if program in {one.program for one in events()}:
        return linger(random, held_out=False)
    known = {number: one.registers for one in instruments() for number in one.programs}
    return compose(random, known.get(program, tuple(REGISTERS.values())), held_out=False)


def augment(seen: Tensor, rng: torch.Generator) -> Tensor:
    """Sounds as another instrument, room and microphone might have given them: (B, M, L) -> (B, M, L)."""
    count = len(seen)
    x = seen.float()

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=rng) * (high - low) + low

    later = torch.randint(0, 20, (count, 1), generator=rng)  # frames of silence before it
    place = torch.arange(FRAMES)[None] - later  # (B, L)
    moved = x.gather(2, place.clamp_min(0)[:, None].expand(-1, BANDS, -1))
    x = moved.masked_fill((place < 0)[:, None], 0)
    bands = torch.arange(BANDS)[None] + torch.randint(-1, 2, (count, 1), generator=rng)  # another pitch and formants
    x = x.gather(1, bands.clamp(0, BANDS - 1)[:, :, None].expand(-1, -1, FRAMES))
    curve = nn.functional.interpolate(torch.randn(count, 1, 7, generator=rng), BANDS, mode="linear")  # equaliser
    sounding = (x > 0).float()
    x = x + sounding * curve[:, 0, :, None] * uniform(0, 0.09, 1, 1)
    noise = torch.randn(x.shape, generator=rng) * 0.04 + uniform(-0.3, 0.45, 1, 1)
    x = torch.maximum(x, noise * (uniform(0, 1, 1, 1) < 0.4))
    x = x / x.amax((1, 2), keepdim=True).clamp_min(1e-3)
    masked = uniform(0, 1, 1) < 0.5
    first = torch.randint(0, BANDS - 8, (count, 1), generator=rng)
    hidden = (torch.arange(BANDS)[None] >= first) & (torch.arange(BANDS)[None] < first + 8) & masked  # (B, M)
    return x.masked_fill(hidden[:, :, None], 0).clamp(0, 1.2)


def train(seen: Tensor, labels: Labels, epochs: int, seed: int) -> SoundNetwork:
    """The network after training, its weights averaged over the last steps."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    network, heads = SoundNetwork(), Heads()
    average = copy.deepcopy(network)
    weights = [*network.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
    steps = epochs * (len(seen) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.08)
    with tqdm(total=steps, desc="pretraining", unit="step", mininterval=5) as bar:
        for _ in range(epochs):
            for chosen in torch.randperm(len(seen), generator=rng)[: steps // epochs * BATCH].view(-1, BATCH):
                with torch.autocast("cpu", torch.bfloat16):
                    tokens = network(augment(seen[chosen], rng))
                loss = heads.loss(tokens, labels, chosen)
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


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m modalities.audio.pretrain",
        description="Pretrain the sound encoder on phrases rendered from the training fonts.",
    )
    parser.add_argument("--store", type=Path, default=Path("store"), help="where the fonts are fetched to")
    parser.add_argument("--out", type=Path, required=True, help="the weights to write (safetensors)")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=40, help="phrases of every program on every font")
    options = parser.parse_args(argv)
    network = train(*render(options.store, options.each), options.epochs, options.seed)
    state = network.state_dict()
    save_file({key: one.half() if one.is_floating_point() else one for key, one in state.items()}, options.out)


if __name__ == "__main__":
    main()
