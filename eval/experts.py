"""The denominators of Relative Gain: what an individually trained expert says to each test item, and its score.

An expert is `store/experts/<modality>/`, made by `extend expert`; else the first stage of the lineage, if it taught
this modality and tuned the LLM: plain fine-tuning of one modality is what an expert is. A modality without one is
unscored with a reason, never zero. It knows no model.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eval import EvalError
from eval.predictions import FOLDER, Measured, digest, read, rescored
from eval.report import Report, parse
from modalities.base import find
from modalities.checkpoint import Checkpoint, Store


@dataclass
class Experts:
    """What they said, by modality and dataset; whose it is, or why there is none, by modality."""

    said: dict[str, dict[str, Measured]] = field(default_factory=dict)
    of: dict[str, str] = field(default_factory=dict)
    unscored: dict[str, str] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Their scores, by modality and dataset."""
        return {name: {each: one.score for each, one in mine.items()} for name, mine in self.said.items()}


def look_up(
    store: Store, checkpoint: Checkpoint, measured: Mapping[str, Mapping[str, Measured]], judge: str
) -> Experts:
    """The experts of each modality, for the very items that this checkpoint was measured on, by the same judge."""
    found = Experts()
    learned_as = {find(name).name: name for name in checkpoint.modalities}  # a third party's has a dotted name
    for modality, datasets in measured.items():
        cure = f"extend expert {learned_as[modality]}"
        try:
            whose = _whose(store, checkpoint, modality, cure)
            said = dict(datasets)
            if whose != checkpoint.id:
                said = _all(store, whose, modality, datasets, judge)
            if zero := [name for name, one in said.items() if one.score <= 0]:
                raise EvalError(f"its expert scores 0 on {zero[0]}; train a better one: {cure}")
        except EvalError as error:
            found.unscored[modality] = str(error)
        else:
            found.of[modality] = whose
            found.said[modality] = said
    return found


def keep(store: Store, modality: str, report: Report) -> None:
    """Make a measured checkpoint the expert of a modality: its report and what it said, apart from the checkpoint."""
    folder = store.experts / modality
    for name in report.datasets[modality]:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        file = report.predictions[name]
        shutil.copyfile(store.folder(report.checkpoint) / FOLDER / file, folder / FOLDER / file)
    store.write_json(folder / "report.json", report.model_dump(mode="json"))


def _whose(store: Store, checkpoint: Checkpoint, modality: str, cure: str) -> str:
    """The id of a modality's expert. Raises EvalError with the cure when there is none."""
    own = store.experts / modality / "report.json"
    if own.is_file():
        return parse(own.read_bytes(), f"experts/{modality}").checkpoint
    first = store.lineage(checkpoint.id)[0]
    if first.deltas and [find(name).name for name in first.modalities] == [modality]:
        return first.id
    raise EvalError(f"it has no expert; make one: {cure}")


def _all(store: Store, whose: str, modality: str, datasets: Mapping[str, Measured], judge: str) -> dict[str, Measured]:
    """What an expert said about each dataset. Raises EvalError when something of it is not to be had."""
    # The expert's own folder first: it may have been measured again since `extend expert` kept its report.
    folders = [store.checkpoints / whose, store.experts / modality]
    folder = next((one for one in folders if (one / "report.json").is_file()), None)
    if folder is None:
        raise EvalError(f"its expert has not been measured; run: python -m eval run {whose}")
    report = parse((folder / "report.json").read_bytes(), whose)
    if report.judging.judge != judge:
        raise EvalError(
            f"its expert was judged by {report.judging.judge!r}, not by {judge!r}; run: python -m eval run {whose}"
        )
    return {name: _same(folder, report, name, one) for name, one in datasets.items()}


def _same(folder: Path, report: Report, name: str, measured: Measured) -> Measured:
    """What an expert said about the same items, which may be some of its own."""
    file = folder / FOLDER / report.predictions.get(name, "none")
    kept = {one.id: one for one in read(file)} if file.is_file() else {}
    same = [kept[one.id] for one in measured.predictions if one.id in kept]
    if not same or digest(same) != digest(measured.predictions):
        again = f"run: python -m eval run {report.checkpoint}"
        raise EvalError(f"its expert was not measured on these items of {name}; {again}")
    return Measured(measured.task, rescored(measured.task, same))


def paired(said: Measured, expert: Measured) -> tuple[Sequence[float], Sequence[float]]:
    """The scores of both on those items that have one from both, in their order."""
    pairs = [
        (one.score, other.score)
        for one, other in zip(said.predictions, expert.predictions, strict=True)
        if one.score is not None and other.score is not None
    ]
    return [one for one, _ in pairs], [other for _, other in pairs]
