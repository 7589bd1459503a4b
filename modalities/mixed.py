"""Questions over several senses at once, in the manner of MCUB-4: two to four media, one question, four options.

`which`: one of them shows something, or several or none; the options are their places. `share`: what all of them show,
among things that some of them show and others do not, so that one medium alone does not tell. What a file shows follows
from what its modality's own samples say of it (shown.py); a modality without a table takes no part. The same datasets
give the same items, whatever the order in which the modalities are given. It knows no modality.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from random import Random
from typing import Literal

from modalities.base import Dataset, Modality
from modalities.choices import LETTERS, Choice
from modalities.shown import Medium, media, read_table

VERSION = "mixed-1"  # change it whenever another item comes out
Split = Literal["train", "test"]
SIZES: dict[Split, dict[int, int]] = {  # items of each set of two, three and four modalities
    "train": {2: 240, 3: 80, 4: 160},
    "test": {2: 24, 3: 32, 4: 128},
}
FEWEST: dict[Split, int] = {"train": 3, "test": 1}  # media that show a concept, of a modality that is asked for it
TRIES = 24  # ways to put an item together, of which the best one is taken
NEVER = 4  # what an option that can never be right costs, in times that an option was right too often
TELLING = 8  # what a medium that gives the answer away costs, likewise
WHICH = (
    "Which of these shows {}, or is the sound of it?",
    "Which one shows or sounds like {}?",
    "Which of these has to do with {}?",
    "Which one is about {}?",
    "Where do you find {}?",
)
SHARE = (
    "What do all of these have in common?",
    "What is the same in all of these?",
    "What do they share?",
    "Which of these fits every one of them?",
    "What can be found in each of them?",
)
PLACES = ("the first", "the second", "the third", "the fourth")


class Pool:
    """A modality's media of a split, by what they show and by what they lack."""

    def __init__(self, found: Sequence[Medium], fewest: int) -> None:
        """A concept that fewer than `fewest` show is not asked for."""
        self.lacking: dict[str, list[Medium]] = defaultdict(list)
        showing: dict[str, list[Medium]] = defaultdict(list)
        for one in found:
            for concept in one.shows:
                showing[concept].append(one)
            for concept in one.lacks:
                self.lacking[concept].append(one)
        self.showing = defaultdict(list, {name: of for name, of in showing.items() if len(of) >= fewest})


def mixed(known: Sequence[tuple[Modality, Sequence[Dataset]]]) -> Dataset:
    """The items over modalities with their datasets: train items about train media, test items about test media."""
    train, test = (tuple(item.sample for item in choices(known, split)) for split in ("train", "test"))
    return Dataset("mixed-qa", "qa", train, test)


def choices(known: Sequence[tuple[Modality, Sequence[Dataset]]], split: Split) -> list[Choice]:
    """A split's items, two modalities' before three's."""
    pools: dict[str, Pool] = {}
    for modality, datasets in sorted(known, key=lambda pair: pair[0].name):
        if modality.shows is not None:
            samples = (sample for one in datasets for sample in (one.train if split == "train" else one.test))
            pools[modality.name] = Pool(media(read_table(modality.shows), samples), FEWEST[split])
    return [
        item
        for number, count in SIZES[split].items()
        for names in combinations(pools, number)
        for item in Maker(split, {name: pools[name] for name in names}).make(count)
    ]


@dataclass
class Maker:
    """Makes the items over one set of modalities; it remembers how often an option was right, to even that out."""

    split: Split
    pools: dict[str, Pool]  # by modality
    odds: Counter[str] = field(default_factory=Counter)  # times an option was right, less its fair share

    def __post_init__(self) -> None:
        able = Counter(concept for pool in self.pools.values() for concept in pool.showing)
        self.known = set(able)
        self.asked = sorted(concept for concept, number in able.items() if number > 1)
        self.shared = sorted(concept for concept, number in able.items() if number == len(self.pools))

    def make(self, count: int) -> Iterator[Choice]:
        """`count` items, both kinds and all letters by turns; fewer where the media do not allow them."""
        name = "+".join(self.pools)
        for place in range(count):
            random = Random(f"{VERSION} {self.split} {name} {place}")
            kind, right = ("which", "share")[place % 2], place // 2 % len(LETTERS)
            made = (self._which if kind == "which" else self._share)(random, right)
            if made:
                chosen, question, options = made
                parts = tuple(one.part for one in chosen)
                yield Choice(f"{self.split}-{name}-{place:03d}", parts, question, options, right, kind)

    def _which(self, random: Random, right: int) -> tuple[list[Medium], str, tuple[str, ...]] | None:
        """The options are the places and what else may be; two of the modalities can show what is asked for."""
        number = len(self.pools)
        options = (*PLACES[:number], *{2: ("both of them", "neither of them"), 3: ("none of them",)}.get(number, ()))
        wanted = {right} if right < number else {0, 1} if options[right] == "both of them" else set()
        for concept in random.sample(self.asked, len(self.asked)):
            order = self._order(random, concept, wanted)
            if order:
                chosen = [
                    random.choice(pool.showing[concept]) if place in wanted else self._other(random, concept, pool)
                    for place, pool in enumerate(order)
                ]
                return chosen, random.choice(WHICH).format(concept), options
        return None

    def _order(self, random: Random, concept: str, wanted: set[int]) -> list[Pool] | None:
        """The modalities in an order in which those at the wanted places can show a concept and the others lack it."""
        order = random.sample(list(self.pools.values()), len(self.pools))
        able = [pool for pool in order if concept in pool.showing][: len(wanted)]
        others = [pool for pool in order if pool not in able]
        if len(able) < len(wanted) or not all(concept in pool.lacking for pool in others):
            return None
        random.shuffle(able)
        return [(able if place in wanted else others).pop() for place in range(len(order))]

    def _other(self, random: Random, concept: str, pool: Pool) -> Medium:
        """A medium that lacks the concept; every second time one of something that is asked for as well."""
        lacking = pool.lacking[concept]
        near = [one for one in random.sample(lacking, min(8, len(lacking))) if one.shows & self.known]
        return random.choice(near if near and random.random() < 0.5 else lacking)

    def _share(self, random: Random, right: int) -> tuple[list[Medium], str, tuple[str, ...]] | None:
        """The options are concepts; of several ways to put them together the one that gives least away."""
        best: tuple[int, list[Medium], str, list[str]] | None = None
        for concept in (random.choice(self.shared) for _ in range(TRIES if self.shared else 0)):
            order = random.sample(list(self.pools.values()), len(self.pools))
            chosen = [random.choice(pool.showing[concept]) for pool in order]
            others = self._distractors(random, chosen)
            if len(others) == len(LETTERS) - 1:
                telling = sum(one.shows.isdisjoint(others) for one in chosen)  # media that fit the right option alone
                never = sum(other not in self.shared for other in others)  # options that are not right in any item
                even = self.odds[concept] - sum(self.odds[other] for other in others)
                cost = TELLING * telling + NEVER * never + even
                if best is None or cost < best[0]:
                    best = cost, chosen, concept, others
        if best is None:
            return None
        _, chosen, concept, others = best
        self.odds.update({concept: 3} | dict.fromkeys(others, -1))
        options = random.sample(others, len(others))
        options.insert(right, concept)
        return chosen, random.choice(SHARE), tuple(options)

    def _distractors(self, random: Random, chosen: Sequence[Medium]) -> list[str]:
        """Three concepts that some medium lacks: first one that each medium shows, then what any shows, then others."""
        lacked = sorted({concept for one in chosen for concept in one.lacks if concept in self.known})
        random.shuffle(lacked)
        lacked.sort(key=lambda concept: (concept not in self.shared, -self.odds[concept]))
        picked: list[str] = []
        for one in sorted(chosen, key=lambda one: len(one.shows)):
            if one.shows.isdisjoint(picked):
                picked += [concept for concept in lacked if concept in one.shows][:1]
        for one_shows in (True, False):
            for concept in lacked:
                if concept not in picked and any(concept in one.shows for one in chosen) == one_shows:
                    picked.append(concept)
        return picked[: len(LETTERS) - 1]
