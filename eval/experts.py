"""The denominators of Relative Gain: what an individually trained expert scores on each dataset.

An expert is `store/experts/<modality>/`, made by `extend expert`; else the first stage of the lineage, if it taught
this modality and tuned the LLM: plain fine-tuning of one modality is what an expert is. A modality without one is
unscored with a reason, never zero. It knows no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eval import EvalError
from eval.judge import JUDGE
from eval.predictions import FOLDER, Prediction, digest, mean, read, score
from eval.report import Report, parse
from modalities.base import Task, find
from modalities.checkpoint import Checkpoint, Store


@dataclass
class Experts:
    """Scores by modality and dataset; whose they are, or why there is none, by modality."""

    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    of: dict[str, str] = field(default_factory=dict)
    unscored: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """What this checkpoint said about one dataset."""

    task: Task
    predictions: Sequence[Prediction]

    @property
    def score(self) -> float:
        """The dataset's score."""
        return mean(self.predictions)


def look_up(store: Store, checkpoint: Checkpoint, measured: Mapping[str, Mapping[str, Measured]]) -> Experts:
    """The experts of each modality, for the very items that this checkpoint was measured on."""
    found = Experts()
    learned_as = {find(name).name: name for name in checkpoint.modalities}  # a third party's has a dotted name
    for modality, datasets in measured.items():
        cure = f"extend expert {learned_as[modality]}"
        try:
            whose = _whose(store, checkpoint, modality, cure)
            scores = _scores(store, checkpoint, whose, modality, datasets)
            if zero := [name for name, value in scores.items() if value <= 0]:
                raise EvalError(f"its expert scores 0 on {zero[0]}; train a better one: {cure}")
        except EvalError as error:
            found.unscored[modality] = str(error)
        else:
            found.of[modality] = whose
            found.scores[modality] = scores
    return found


def _whose(store: Store, checkpoint: Checkpoint, modality: str, cure: str) -> str:
    """The id of a modality's expert. Raises EvalError with the cure when there is none."""
    own = store.experts / modality / "report.json"
    if own.is_file():
        return parse(own.read_bytes(), f"experts/{modality}").checkpoint
    first = store.lineage(checkpoint.id)[0]
    if first.deltas and [find(name).name for name in first.modalities] == [modality]:
        return first.id
    raise EvalError(f"it has no expert; make one: {cure}")


def _scores(
    store: Store, checkpoint: Checkpoint, whose: str, modality: str, datasets: Mapping[str, Measured]
) -> dict[str, float]:
    """The expert's score on each dataset. Raises EvalError when one is not to be had."""
    if whose == checkpoint.id:
        return {name: one.score for name, one in datasets.items()}
    # The expert's own folder first: it may have been measured again since `extend expert` kept its report.
    files = [store.checkpoints / whose / "report.json", store.experts / modality / "report.json"]
    file = next((one for one in files if one.is_file()), None)
    if file is None:
        raise EvalError(f"its expert has not been measured; run: python -m eval run {whose}")
    report = parse(file.read_bytes(), whose)
    if report.judge != JUDGE:
        raise EvalError(f"its expert was judged by {report.judge!r}, not by {JUDGE!r}; run: python -m eval run {whose}")
    return {name: _score(store, report, modality, name, one) for name, one in datasets.items()}


def _score(store: Store, report: Report, modality: str, name: str, measured: Measured) -> float:
    """The expert's score on the same items: as reported, or from its predictions where these are some of its items."""
    if report.items.get(name) == digest(measured.predictions):
        return report.scores[modality][name]
    file = store.checkpoints / report.checkpoint / FOLDER / report.predictions.get(name, "none")
    kept = {one.id: one for one in read(file)} if file.is_file() else {}
    same = [kept[one.id] for one in measured.predictions if one.id in kept]
    if not same or digest(same) != digest(measured.predictions):
        again = f"run: python -m eval run {report.checkpoint}"
        raise EvalError(f"its expert was not measured on these items of {name}; {again}")
    return mean(score(measured.task, same))
