"""The picture datasets: captions and questions over emoji art, an art style held out for the test, and photographs.

The emoji's folder has the layout of a user's own data, so it is an example of one too. The same packages give the same
bytes. It knows neither encoder nor backbone.
"""

import json
from functools import lru_cache
from pathlib import Path

from modalities.assets import build
from modalities.base import TEXT, Dataset, Part, Sample, Task
from modalities.image import stamps
from modalities.image.pictures import Art, Picture
from modalities.image.plan import VERSION, Split, plan
from modalities.pool import spread

SPLITS: tuple[Split, Split] = ("train", "test")


def load(store: Path) -> list[Dataset]:
    """`emoji-caption` and `emoji-qa`, fetched and drawn when they are missing; photographs where they can be had."""
    folder = build(store, VERSION, lambda folder: draw(Art(store), folder), kind="data")
    samples = {split: read(folder, split) for split in SPLITS}

    def of(task: Task, split: Split) -> tuple[Sample, ...]:
        return tuple(sample for sample in samples[split] if sample.task == task)

    tasks: tuple[Task, Task] = ("caption", "qa")
    emoji = [Dataset(f"emoji-{task}", task, of(task, "train"), of(task, "test")) for task in tasks]
    return [*emoji, *stamps.load(store)]


def draw(art: Art, folder: Path) -> None:
    """Fill a folder with the pictures and the two splits."""
    plans = {split: plan(art.has, split) for split in SPLITS}
    for split, items in plans.items():
        (folder / split).mkdir()
        lines = [json.dumps(line, ensure_ascii=False) for item in items for line in item.lines]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    jobs = [(art.store, item.picture, folder / split / f"{item.name}.png") for split in SPLITS for item in plans[split]]
    spread(_save, jobs, desc="drawing pictures", unit="picture")


def _save(job: tuple[Path, Picture, Path]) -> None:
    store, picture, path = job
    _art(store).draw(picture).save(path)


@lru_cache(1)
def _art(store: Path) -> Art:
    """One for each process that draws."""
    return Art(store)


def read(folder: Path, split: Split) -> list[Sample]:
    """The samples of a split, as they stand in its file."""
    lines = (json.loads(line) for line in (folder / f"{split}.jsonl").read_text("utf-8").splitlines())
    return [
        Sample(
            line["id"],
            line["task"],
            (Part("image", folder / line["media"]), Part(TEXT, line["question"])),
            tuple(line["answers"]),
            line["topic"],
        )
        for line in lines
    ]
