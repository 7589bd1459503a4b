"""The connector-only probe: of what a stage has cost an older modality, how much does its connector alone bring back?

The same short training is done before the stage too, where nothing is lost yet: what it gives there is no recovery.
The verdict and its words are eval/diagnosis.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import nn

from eval.diagnosis import FILE, Change, dump
from extend import RunError
from extend.data import by_media, draw, parted
from extend.estimate import losses
from extend.recipe import Recipe
from extend.train import train
from modalities.assemble import assemble
from modalities.base import Sample, find
from modalities.checkpoint import Checkpoint, Store
from modalities.features import Features
from modalities.mllm import MLLM
from modalities.userdata import of

SHARE, FEWEST = 0.1, 20  # of a modality's files, and how many at least
HELD = 0.5  # of these, to measure on


@dataclass(frozen=True)
class Probed:
    """A modality's loss in one model, with its connector as it is and after the probe, and the connector as it is."""

    loss: float
    trained: float
    connector: torch.Tensor  # all its numbers in a row


def diagnose(store: Store, id: str) -> tuple[Change, ...]:
    """Diagnose a checkpoint against its parent, and keep it beside the checkpoint. Raises RunError."""
    after = store.load(id)
    if after.parent is None or after.parent not in store.ids():
        raise RunError(f"{id} has no parent in the store; only a later stage can have cost something.")
    before = store.load(after.parent)
    recipe = Recipe.model_validate({key: value for key, value in after.recipe.items() if key != "data"})
    samples = {find(name).name: _samples(store, after, name, recipe.seed) for name in before.modalities}
    then, now = (probe(store, one, samples, recipe) for one in (before, after))
    changes = tuple(
        Change(
            modality=name,
            drift=float((now[name].connector - then[name].connector).norm() / then[name].connector.norm()),
            lost=now[name].loss - then[name].loss,
            regained=(now[name].loss - now[name].trained) - (then[name].loss - then[name].trained),
        )
        for name in samples
    )
    store.write_json(store.folder(id) / FILE, dump(changes))
    return changes


def probe(
    store: Store, checkpoint: Checkpoint, samples: dict[str, tuple[list[Sample], list[Sample]]], recipe: Recipe
) -> dict[str, Probed]:
    """Each modality's connector trained alone on the first half of its samples and measured on the second."""
    model = assemble(store, checkpoint)
    model.embedder.features = Features(store.features)
    found = {}
    for name, (trained, held) in samples.items():
        model.embedder.encode(part for sample in (*trained, *held) for part in sample.prompt)
        connector = model.embedder.connectors[name]
        start = {key: value.clone() for key, value in connector.state_dict().items()}
        loss = fmean(losses(model, held))
        _train(model, connector, trained, recipe)
        found[name] = Probed(loss, fmean(losses(model, held)), _flat(start, connector))
        connector.load_state_dict(start)
    return found


def _train(model: MLLM, connector: nn.Module, samples: Sequence[Sample], recipe: Recipe) -> None:
    settings = recipe.realign
    torch.manual_seed(recipe.seed)
    train(
        model,
        "probe",
        samples,
        [(list(connector.parameters()), settings.lr_connector)],
        batch=settings.batch,
        epochs=settings.epochs,
        warmup=recipe.warmup,
        seed=recipe.seed,
        machine=recipe.machine,
    )


def _samples(store: Store, checkpoint: Checkpoint, name: str, seed: int) -> tuple[list[Sample], list[Sample]]:
    """A few of a modality's training files, parted: to train the probe on, and to measure on."""
    modality = find(name)
    sets = of(store, modality, checkpoint.recipe.get("data", {}).get(modality.name))
    samples = [sample for one in sets for sample in one.train]
    share = min(1.0, max(SHARE, FEWEST / len(by_media(samples))))
    return parted(draw(samples, share, seed), HELD, seed)


def _flat(state: dict[str, torch.Tensor], connector: nn.Module) -> torch.Tensor:
    return torch.cat([state[name].flatten().float().cpu() for name, _ in connector.named_parameters()])
