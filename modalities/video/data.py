"""The video datasets: captions and questions about animated game units, whole deeds held out for the test.

The folder has the layout of a user's own data, and is read as one. The same packages give the same bytes. It knows
neither encoder nor backbone.
"""

import json
from dataclasses import replace
from pathlib import Path

from modalities import userdata
from modalities.assets import build, fetch
from modalities.base import Dataset
from modalities.packages import WESNOTH_DATA
from modalities.pool import spread
from modalities.video import MODALITY
from modalities.video.clips import Clip, draw, encode
from modalities.video.plan import SPLITS, VERSION, Item, plan
from modalities.video.units import ROOT, scenes


def load(store: Path) -> list[Dataset]:
    """`wesnoth-caption` and `wesnoth-qa`, fetched and drawn when they are missing."""
    folder = build(store, VERSION, lambda folder: make(plans(store), folder), kind="data")
    return [replace(one, name=f"wesnoth-{one.task}") for one in userdata.folder(MODALITY, folder)]


def plans(store: Path) -> dict[str, list[Item]]:
    """The clips of both splits; fetches the game's data."""
    core = fetch(store, WESNOTH_DATA) / ROOT
    known = scenes(core)
    return {split: plan(known, core, split) for split in SPLITS}


def make(planned: dict[str, list[Item]], folder: Path) -> None:
    """Fill a folder with the clips and the two splits."""
    for split, items in planned.items():
        (folder / split).mkdir()
        lines = [json.dumps(line, ensure_ascii=False) for item in items for line in item.lines]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    jobs = [(item.clip, folder / split / f"{item.name}.mp4") for split, items in planned.items() for item in items]
    spread(_save, jobs, desc="drawing clips", unit="clip")


def _save(job: tuple[Clip, Path]) -> None:
    clip, path = job
    path.write_bytes(encode(draw(clip)))
