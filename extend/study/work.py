"""One piece of a study's work, in a process of its own: its memory's peak is its own, and it ends with who began it.

python -m extend.study.work '{"out": …, "kind": "stage", …}' < a pipe that its parent holds
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from threading import Thread
from time import monotonic

import torch

from eval.run import evaluate
from extend import run
from extend.diagnose import diagnose
from extend.machine import metered
from extend.study.grid import SETTINGS, Grid, Study, Work
from modalities.assemble import assemble
from modalities.base import find
from modalities.checkpoint import Store
from modalities.userdata import datasets
from serving.attention import share_keys
from serving.batch import Batch

TOKENS = 32  # of which the median latency is taken


def stage(grid: Grid, work: Work) -> None:
    """Train what is not trained, diagnose it, and measure it."""
    store = grid.store(work.seed)
    id = grid.made(work)
    if id is None:
        name, recipe = work.order[work.stage - 1], grid.recipe(work)
        made = run.add(store, name, recipe, parent=grid.parent(work), method=grid.method(work), data=grid.data(work))
        id = made.id
    if work.stage > 1 and grid.study.diagnose:
        diagnose(store, id)
    report = evaluate(store, id, limit=grid.study.limit, blind=False)
    if grid.is_expert(work):
        store.write_json(store.experts / report.modalities[0] / "report.json", report.model_dump(mode="json"))


def serve(grid: Grid, work: Work) -> None:
    """What it costs to serve: the process's memory, and the time of a token for one who is alone (Table 6)."""
    store, id = grid.store(work.seed), grid.made(work)
    assert id is not None, "Only what is made can be served."
    with metered() as cost, torch.inference_mode():
        seconds = token_seconds(store, id)
    figures = {"checkpoint": id, "seconds_per_token": seconds, "peak_bytes": cost.peak_bytes}
    store.write_json(grid.serving(work), figures)


def token_seconds(store: Store, id: str) -> float:
    """The median time of one more token, with a batch of one, as the transformers engine makes it."""
    checkpoint = store.load(id)
    model = assemble(store, checkpoint)
    share_keys(model.llm)
    sample = next(one for sets in datasets(store, checkpoint).values() for data in sets for one in data.test)
    batch = Batch(model.llm)
    batch.join([model.embedder.embed(sample.prompt).embeds])
    times = []
    for _ in range(TOKENS):
        began = monotonic()
        batch.step([model.embedder.tokenizer.eos_token_id])
        times.append(monotonic() - began)
    return median(times)


def main() -> None:
    """Do the work that the first argument describes."""
    Thread(target=_end_with_parent, daemon=True).start()
    asked = json.loads(sys.argv[1])
    out = Path(asked.pop("out"))
    grid = Grid(out, Study.model_validate_json((out / SETTINGS).read_bytes()))
    torch.set_num_threads(grid.study.threads)
    work = Work(**asked | {"order": tuple(asked["order"])})
    for name in work.order:
        find(name)
    {"stage": stage, "serve": serve}[work.kind](grid, work)


def described(out: Path, work: Work) -> str:
    """A piece of work as main() reads it."""
    return json.dumps({"out": str(out.resolve()), **asdict(work)})


def _end_with_parent() -> None:
    """The pipe ends when the study does, however it ends."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
