"""A run: from a parent checkpoint, a modality and a method to a new checkpoint. It knows no server and no score.

A run has a folder of its own under store/work, named by everything that decides its outcome; the same command
after a kill finds it there and goes on from the last finished phase. Of several processes all run all of it.
"""

import hashlib
import json
import shutil
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from extend import RunError
from extend.adapter import STORED
from extend.data import StageData, assigned
from extend.machine import DTYPES
from extend.methods import method_of
from extend.picture import draw_losses
from extend.plain import plain
from extend.processes import first, here, together
from extend.recipe import Recipe
from extend.stage import Stage
from extend.steps import realign
from modalities.assemble import assemble, bare, encoders, save_connectors
from modalities.base import Modality, find
from modalities.checkpoint import Checkpoint, Store
from modalities.features import Features
from modalities.mixed import mixed
from modalities.userdata import of
from modalities.woven import refuse

WOVEN = "pathweave"  # the one method whose checkpoints no other can go on from
RESIDENT = 4_000  # features kept in memory while training: some 250 MB for the embedded encoders; others are read again


def add(
    store: Store, name: str, recipe: Recipe, *, parent: str | None, method: str = "mera", data: str | None = None
) -> Checkpoint:
    """Teach θ_{parent} (None: the backbone alone) the modality `name`; `data` is a user's folder in store/data."""
    file = method_of(method, recipe.options)
    modality = find(name)
    before = store.load(parent) if parent else None
    learned = before.modalities if before else ()
    if modality.name in [find(other).name for other in learned]:
        raise RunError(f"{parent} already knows {modality.name}; choose another --parent. See: extend ls")
    if before and before.base_llm != recipe.base_llm:
        raise RunError(f"{parent} is built on {before.base_llm}, the recipe on {recipe.base_llm}; use one backbone.")
    if before and method != WOVEN:
        refuse(store, before, method, f"go on with --method {WOVEN}, or from another --parent.")
    settings = settings_of(recipe, before, modality, data)
    key = json.dumps([parent, name, method, settings], sort_keys=True)
    work = store.work / f"{modality.name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / ".lock", blocking=False) if first() else nullcontext():
            stage = _prepare(store, modality, recipe, before, settings, work)
            began = time.monotonic()
            file.run(stage)
            if recipe.options.realign is not None:
                realign(stage, recipe.options.realign)
            with here().main_process_first():  # the others find that it is there
                made = _publish(store, stage, before, name, method, settings)
                _keep(store, made, stage, time.monotonic() - began)
            together()
    except Timeout:
        raise RunError("The same run is already under way in another process; wait for it or end it.") from None
    if first():
        shutil.rmtree(work)
    return made


def _prepare(
    store: Store, modality: Modality, recipe: Recipe, before: Checkpoint | None, settings: dict[str, Any], work: Path
) -> Stage:
    """θ_{i-1} and the data of all modalities."""
    model = assemble(store, before) if before else bare(store, recipe.base_llm, recipe.system)
    model.llm.to(DTYPES[recipe.machine.precision])
    model.embedder.features = Features(store.features, RESIDENT)
    known = [*(find(name) for name in (before.modalities if before else ())), modality]
    datasets = {m.name: of(store, m, settings["data"].get(m.name)) for m in known}
    own = [m for m in known if m.name not in settings["data"]]
    several = mixed([(m, datasets[m.name]) for m in own]).train if recipe.mixed else ()
    over = assigned(several, [m.name for m in known], recipe.mixed, recipe.seed)
    train = [(*(sample for one in datasets[m.name] for sample in one.train), *over[m.name]) for m in known]
    with here().main_process_first():  # one makes it up, the others read it
        text = plain(store, recipe)
    data = StageData(new=train[-1], old=tuple(train[:-1]), text=text)
    made = Stage(len(known), model, modality, data, recipe, work, store.root)
    if before:
        folder = store.folder(before.id)
        made.deltas = list(before.deltas)
        made.adapters = [folder / delta.path for delta in before.deltas]
        made.carry = {Path(name).name: folder / name for name in before.files if name.startswith("carry/")}
    return made


def _publish(
    store: Store, stage: Stage, before: Checkpoint | None, name: str, method: str, settings: dict[str, Any]
) -> Checkpoint:
    """Put everything that was learned into the store, under an id that its content decides."""
    connectors = stage.work / "final"
    shutil.rmtree(connectors, ignore_errors=True)
    save_connectors(dict(stage.model.embedder.connectors.items()), connectors, STORED)
    files = {f"connectors/{path.name}": path for path in connectors.iterdir()}
    if before:
        files |= {path: store.folder(before.id) / path for path in before.files if path.startswith("llm/")}
    for learned, folder in stage.learned.items():
        files |= {f"{learned}/{path.name}": path for path in folder.iterdir()}
    files |= {f"carry/{handed}": path for handed, path in stage.hand_on.items()}
    modalities = (*(before.modalities if before else ()), name)
    return store.publish(
        files,
        parent=before.id if before else None,
        stage=stage.index,
        method=method,
        modalities=modalities,
        base_llm=stage.recipe.base_llm,
        system=stage.recipe.system,
        deltas=tuple(stage.deltas),
        encoders=encoders([find(one) for one in modalities], stage.model.embedder),
        recipe=settings,
    )


def _keep(store: Store, made: Checkpoint, stage: Stage, seconds: float) -> None:
    """The run's figures and its loss picture, beside the checkpoint; they are no part of its id."""
    folder = store.folder(made.id)
    if not (folder / "run.json").exists():
        figures = {"seconds": round(seconds, 1), "phases": [asdict(curve) for curve in stage.curves]}
        draw_losses(stage.curves, made.id, folder / "loss.png")
        store.write_json(folder / "run.json", figures)


def figures(store: Store, id: str) -> dict[str, Any]:
    """What a run has cost, as it was kept beside its checkpoint."""
    found: dict[str, Any] = json.loads((store.folder(id) / "run.json").read_text())
    return found


def settings_of(
    recipe: Recipe, before: Checkpoint | None, modality: Modality, data: str | None = None
) -> dict[str, Any]:
    """What a run keeps in its manifest of how it was made."""
    return {**recipe.model_dump(mode="json"), "data": _data(before, modality, data)}


def _data(before: Checkpoint | None, modality: Modality, data: str | None) -> dict[str, str]:
    """Which user folders (in store/data) stand in for a modality's own datasets."""
    old: dict[str, str] = dict(before.recipe.get("data", {})) if before else {}
    return old | ({modality.name: data} if data else {})


def parent_of(store: Store, wanted: str | None) -> str | None:
    """The checkpoint to build on: the given one, else the live one, else the newest, else the bare backbone."""
    if wanted == "none":
        return None
    if wanted:
        return store.manifest(wanted).id
    ids = store.ids()
    return store.live() or (ids[-1] if ids else None)
