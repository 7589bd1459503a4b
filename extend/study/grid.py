"""What a study consists of, and how far it is: the state is the stores themselves, one for each seed.

A seed's store holds its experts and all its checkpoints, and shares assets, data and the encoder cache with the store
that it was started from. Nothing else remembers anything, so a killed study goes on where it was. It trains nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from eval.diagnosis import FILE as DIAGNOSIS
from eval.report import Report
from eval.report import read as read_report
from extend import RunError
from extend.recipe import Recipe
from extend.run import settings_of
from extend.study.variant import variant
from modalities.base import find
from modalities.checkpoint import Store, write

SETTINGS = "study.json"
SHARED = ("assets", "data", "features")
ORDERS = ("sequential", "reverse")
EXPERT = "finetune"  # how an expert is trained, and with it every first stage but that of a method that tunes no LLM
OWN_START = ("eproj",)


class Study(BaseModel):
    """study.json: what decides the numbers. Methods, orders and seeds may be added later, the rest may not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modalities: tuple[str, ...]  # in the sequential order
    recipe: Recipe
    data: dict[str, str] = {}  # modality -> a user's folder in store/data that stands in for its own datasets
    limit: int | None  # test items a dataset
    diagnose: bool
    threads: int  # of each process: other sums round otherwise


@dataclass(frozen=True)
class Work:
    """One piece of work: a stage to train and measure, or what a finished checkpoint costs to serve."""

    kind: Literal["stage", "serve"]
    seed: int
    order: tuple[str, ...]
    variant: str
    stage: int  # 1 … m

    @property
    def label(self) -> str:
        """Its log's name."""
        names = "-".join(name.rpartition(".")[2] for name in self.order[: self.stage])
        return re.sub(r"[^\w.@=+-]", "_", f"{self.kind}-{self.seed}-{self.variant}-{names}")


class Grid:
    """A study's folder and what is to be done in it."""

    def __init__(self, out: Path, study: Study) -> None:
        self.out = out
        self.study = study

    def order(self, name: str) -> tuple[str, ...]:
        """The modalities of `sequential` or `reverse`."""
        return self.study.modalities if name == ORDERS[0] else self.study.modalities[::-1]

    def store(self, seed: int) -> Store:
        """A seed's store."""
        return Store(self.out / f"seed-{seed}")

    def recipe(self, work: Work) -> Recipe:
        """What a stage is made with."""
        base = self.study.recipe.model_copy(update={"seed": work.seed})
        return base if self.is_expert(work) else variant(work.variant).recipe(base)

    def method(self, work: Work) -> str:
        """By which method."""
        return EXPERT if self.is_expert(work) else variant(work.variant).method

    def data(self, work: Work) -> str | None:
        """On which user's folder, if on one."""
        return self.study.data.get(find(work.order[work.stage - 1]).name)

    def is_expert(self, work: Work) -> bool:
        """Whether this stage is an expert: plain fine-tuning of one modality, however it goes on."""
        return work.stage == 1 and variant(work.variant).method not in OWN_START

    def experts(self, seed: int) -> list[Work]:
        """An expert for each modality."""
        return [Work("stage", seed, (name,), EXPERT, 1) for name in self.study.modalities]

    def chain(self, seed: int, order: tuple[str, ...], text: str) -> list[Work]:
        """A run's stages, the first to the last."""
        return [Work("stage", seed, order, text, stage) for stage in range(1, len(order) + 1)]

    def parent(self, work: Work) -> str | None:
        """The checkpoint that a stage goes on from. Raises RunError when it is not made yet."""
        if work.stage == 1:
            return None
        before = replace(work, kind="stage", stage=work.stage - 1)
        made = self.made(before)
        if made is None:
            raise RunError(f"{before.label} is not made yet; run the study again.")
        return made

    def made(self, work: Work) -> str | None:
        """The checkpoint of a stage, if the store holds it."""
        store, name, parent = self.store(work.seed), work.order[work.stage - 1], None
        if work.stage > 1:
            parent = self.made(replace(work, stage=work.stage - 1))
            if parent is None:
                return None
        before = store.manifest(parent) if parent else None
        settings = settings_of(self.recipe(work), before, find(name), self.data(work))
        for id in store.ids():
            found = store.manifest(id)
            same = (found.parent, found.method, found.modalities[-1]) == (parent, self.method(work), name)
            if same and found.recipe == settings:
                return id
        return None

    def report(self, work: Work) -> Report | None:
        """The report of a stage, if it was made and measured as this study asks."""
        id, store = self.made(work), self.store(work.seed)
        if id is None or not (store.folder(id) / "report.json").is_file():
            return None
        found = read_report(store, id)
        return found if found.limit == self.study.limit else None

    def done(self, work: Work) -> bool:
        """Whether nothing is left of a piece of work."""
        if work.kind == "serve":
            return self.serving(work).is_file()
        found = self.report(work)
        if found is None:
            return False
        store = self.store(work.seed)
        if self.is_expert(work) and not (store.experts / found.modalities[0] / "report.json").is_file():
            return False
        wanted = self.study.diagnose and work.stage > 1
        return not wanted or (store.folder(found.checkpoint) / DIAGNOSIS).is_file()

    def serving(self, work: Work) -> Path:
        """Where a checkpoint's inference costs are kept."""
        return self.store(work.seed).root / "serving" / f"{self.made(work)}.json"

    def all(self, orders: tuple[str, ...], variants: tuple[str, ...], seeds: tuple[int, ...]) -> Iterator[list[Work]]:
        """Every run of the grid, as its stages."""
        for seed in seeds:
            for order in orders:
                for text in variants:
                    yield self.chain(seed, self.order(order), text)

    def ends(self, runs: list[list[Work]]) -> list[list[Work]]:
        """For each variant's first whole run: to serve its first stage and its last."""
        whole = {works[0].variant: works for works in reversed(runs) if all(map(self.done, works))}
        return [[replace(one, kind="serve") for one in (works[0], works[-1])] for works in whole.values()]


def open_study(out: Path, home: Store, study: Study, seeds: tuple[int, ...]) -> Grid:
    """The folder of a study, new or to be gone on with. Raises RunError when it holds another one."""
    file = out / SETTINGS
    if file.is_file():
        if Study.model_validate_json(file.read_bytes()) != study:
            raise RunError(f"{out.name} holds a study with other settings; choose another --out, or ask as before.")
    else:
        write(file, (study.model_dump_json(indent=1) + "\n").encode())
    for seed in seeds:
        root = out / f"seed-{seed}"
        root.mkdir(exist_ok=True)
        for name in SHARED:
            (home.root / name).mkdir(parents=True, exist_ok=True)
            if not (root / name).is_symlink():
                (root / name).symlink_to((home.root / name).resolve())
    return Grid(out, study)
