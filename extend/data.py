"""What a stage trains on: the new modality's samples, and what is replayed of the old ones.

It draws samples; it does not know what is done with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from random import Random

from extend import RunError
from modalities.base import TEXT, Part, Sample

NEAR = 8  # files are sorted by what is said about them within so many batches' worth


@dataclass(frozen=True)
class StageData:
    """D_i and D_1 … D_{i-1}: the training samples of all modalities learned so far; and plain text, where any is."""

    new: tuple[Sample, ...]
    old: tuple[tuple[Sample, ...], ...] = ()
    text: tuple[Sample, ...] = ()

    @property
    def captions(self) -> list[Sample]:
        """The captioning samples of the new modality, which aligning learns from; without any, all its samples."""
        return [sample for sample in self.new if sample.task == "caption"] or list(self.new)

    def replay(self, share: float, seed: int, fresh: Sequence[Sample] | None = None) -> list[list[Sample]]:
        """A share of each of D_1 … D_i (paper §4.2), or of all but D_i and `fresh` in its place."""
        return [*self.replay_old(share, seed), draw(self.new, share, seed) if fresh is None else list(fresh)]

    def replay_old(self, share: float, seed: int) -> list[list[Sample]]:
        """A share of each of D_1 … D_{i-1}: what replay-based methods mix in (paper, Appendix C.3)."""
        return [draw(domain, share, seed) for domain in self.old]


def draw(samples: Sequence[Sample], share: float, seed: int) -> list[Sample]:
    """A random share of the samples, drawn by media: all questions about a file come together or not at all."""
    groups = by_media(samples)
    order = list(range(len(groups)))
    Random(seed).shuffle(order)
    kept = sorted(order[: max(1, round(share * len(groups)))])
    return [sample for index in kept for sample in groups[index]]


def assigned(samples: Sequence[Sample], names: Sequence[str], share: float, seed: int) -> dict[str, tuple[Sample, ...]]:
    """A share of the samples over several modalities, each with that one of its modalities that is learned last."""
    kept = draw(samples, share, seed) if samples and share else []
    place = {name: number for number, name in enumerate(names)}
    last = [max((part.modality for part in media_of(sample)), key=place.__getitem__) for sample in kept]
    return {name: tuple(one for one, of in zip(kept, last, strict=True) if of == name) for name in names}


def parted(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Two halves without a file in common: all but a share of the samples, and that share. Raises RunError."""
    groups = by_media(samples)
    if len(groups) < 2:
        raise RunError("One replayed file can't be both trained on and held out; raise --replay.")
    held = {id(sample) for sample in draw(samples, share, seed)}
    return [one for one in samples if id(one) not in held], [one for one in samples if id(one) in held]


def mispair(samples: Sequence[Sample], share: float, seed: int) -> list[Sample]:
    """The same samples, exactly round(share · n) of them about another file than their text (paper, Appendix A.5).

    The other file is one of the same modality, of those that the samples are about. Raises RunError.
    """
    random = Random(seed)
    chosen = set(random.sample(range(len(samples)), round(share * len(samples))))
    files: dict[str, list[Part]] = {}
    for part in dict.fromkeys(part for sample in samples for part in media_of(sample)):
        files.setdefault(part.modality, []).append(part)
    return [_swapped(sample, files, random) if place in chosen else sample for place, sample in enumerate(samples)]


def _swapped(sample: Sample, files: Mapping[str, Sequence[Part]], random: Random) -> Sample:
    """A sample whose every file is another one."""
    prompt = []
    for part in sample.prompt:
        others = [one for one in files.get(part.modality, ()) if one != part]
        if part.modality != TEXT and not others:
            raise RunError(f"Only one {part.modality} file is replayed, so no text can be mispaired; raise --replay.")
        prompt.append(part if part.modality == TEXT else random.choice(others))
    return replace(sample, prompt=tuple(prompt))


def thin(samples: Sequence[Sample], share: float, seed: int) -> list[Sample]:
    """All questions and a random share of the captions, which cost several times as many tokens."""
    captions = [place for place, sample in enumerate(samples) if sample.task == "caption"]
    Random(seed).shuffle(captions)
    left_out = set(captions[round(share * len(captions)) :])
    return [sample for place, sample in enumerate(samples) if place not in left_out]


def batches(samples: Sequence[Sample], size: int, seed: int) -> list[list[Sample]]:
    """Shuffled batches of about `size` samples; what is asked about one file stays in one batch.

    A file's features and its prefix are then computed once for all its questions (see modalities/mllm.py). Files about
    which about as much is said come together, so that little of a batch is padding.
    """
    groups = by_media(samples)
    random = Random(seed)
    random.shuffle(groups)
    near = NEAR * size
    windows = [sorted(groups[start : start + near], key=_characters) for start in range(0, len(groups), near)]
    out: list[list[Sample]] = [[]]
    for group in chain.from_iterable(windows):
        for start in range(0, len(group), size):
            chunk = group[start : start + size]
            if len(out[-1]) + len(chunk) > size and out[-1]:
                out.append([])
            out[-1] += chunk
    full = [batch for batch in out if batch]
    random.shuffle(full)
    return full


def _characters(group: Sequence[Sample]) -> int:
    """How long a file's row will be, roughly."""
    asked = sum(len(str(part.content)) for sample in group for part in sample.prompt if part.modality == TEXT)
    return asked + sum(len(sample.answers[0]) for sample in group)


def by_media(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Samples grouped by the media that they are about, in order of first appearance; text alone stands alone."""
    groups: dict[tuple[Part, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(media_of(sample) or sample.prompt, []).append(sample)
    return list(groups.values())


def media_of(sample: Sample) -> tuple[Part, ...]:
    """The media that a sample is about, in their order."""
    return tuple(part for part in sample.prompt if part.modality != TEXT)
