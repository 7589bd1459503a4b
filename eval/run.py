"""Measure a checkpoint: predict, score, compare with the experts, gate, report. It knows no modality and no server."""

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

from eval import EvalError, diagnosis, experts, golden, page
from eval.experts import Measured
from eval.gate import gate, read_policy
from eval.judge import JUDGE
from eval.predict import Ask, fill, plan
from eval.predictions import Prediction, digest, read, save, score, subset, topics
from eval.probe import probe_all
from eval.report import Example, Policy, Report, measure
from eval.score import Unscored, require_java
from modalities.base import Dataset
from modalities.checkpoint import Checkpoint, Store, write
from modalities.userdata import datasets
from serving.loading import ENGINES

T = TypeVar("T")
Seen = dict[str, dict[str, Measured]]  # modality -> dataset -> what was said about it

SEED = 0
EXAMPLES = 3  # predictions of each dataset that the report shows
RECORDED = ("numpy", "pycocoevalcap", "scikit-learn", "torch", "transformers")  # what the figures depend on


def evaluate(
    store: Store,
    checkpoint: str,
    *,
    limit: int | None = None,
    blind: bool = True,
    engine: str = "transformers",
    policy: Policy | None = None,
    probes: bool = False,
) -> Report:
    """Measure a checkpoint, gate it, and write report.json and report.md into its folder.

    What an earlier run has predicted is scored again, not predicted again. Raises EvalError and StoreError.
    """
    if engine not in ENGINES:
        raise EvalError(f"No engine {engine!r}; there is: {', '.join(ENGINES)}")
    policy = policy or read_policy()
    manifest, folder = store.load(checkpoint), store.folder(checkpoint)
    known = {
        modality: [subset(one, limit, SEED) for one in mine] for modality, mine in datasets(store, manifest).items()
    }
    _check_names(known)
    if any(one.task == "caption" for mine in known.values() for one in mine):
        require_java()  # now, not after the model has talked for ten minutes
    asks = plan(folder, known, blind, engine)
    fill(store, checkpoint, asks, engine)
    report = _report(
        store,
        manifest,
        asks,
        probes=probe_all(store, manifest, known) if probes else (),
        diagnosis=diagnosis.read(folder),
        limit=limit,
        engine=engine,
    )
    verdict = gate(report, policy).model_copy(update={"golden": golden.record(store, manifest)})
    report = report.model_copy(update={"verdict": verdict})
    store.write_json(folder / "report.json", report.model_dump(mode="json"))
    write(folder / "report.md", page.render(report).encode())
    return report


def _check_names(known: Mapping[str, Sequence[Dataset]]) -> None:
    """Every modality has a dataset, and each dataset a name of its own."""
    if bare := [modality for modality, mine in known.items() if not mine]:
        raise EvalError(f"{bare[0]} has no datasets, so nothing can be measured; see its `datasets`.")
    name, times = Counter(one.name for mine in known.values() for one in mine).most_common(1)[0]
    if times > 1:
        raise EvalError(f"Two datasets have the name {name!r}; rename one of them.")


def _report(store: Store, checkpoint: Checkpoint, asks: Sequence[Ask], **how: Any) -> Report:
    """Score the predictions, and put the figures together."""
    tasks = _by_modality((one, one.dataset.task) for one in asks)
    seen, unscored = _score([one for one in asks if not one.blind])
    blind, _ = _score([one for one in asks if one.blind])
    found = experts.look_up(store, checkpoint, seen)
    scores = _means(seen)
    flat, dark = _flat(seen), _flat(blind)
    return Report(
        checkpoint=checkpoint.id,
        stage=checkpoint.stage,
        method=checkpoint.method,
        modalities=tuple(tasks),
        datasets=tasks,
        scores=scores,
        blind=_means(blind),
        experts=found.scores,
        expert_of=found.of,
        unscored=found.unscored | unscored,
        counts={one.dataset.name: len(one.dataset.test) for one in asks},
        items={name: digest(one.predictions) for name, one in flat.items()},
        predictions={one.dataset.name: one.path.name for one in asks if not one.blind},
        topics={
            name: topics(one.predictions, dark[name].predictions if name in dark else ())
            for name, one in flat.items()
            if one.task == "qa"
        },
        gains=measure(tasks, scores, found.scores),
        examples=tuple(example for name, one in flat.items() for example in _examples(name, one.predictions)),
        judge=JUDGE,
        seed=SEED,
        versions={"python": platform.python_version()} | {name: version(name) for name in RECORDED},
        **how,
    )


def _score(asks: Sequence[Ask]) -> tuple[Seen, dict[str, str]]:
    """Score what was said, and say why a dataset has no score. The scores are kept with the predictions."""
    seen: list[tuple[Ask, Measured]] = []
    unscored: dict[str, str] = {}
    for one in asks:
        predictions = read(one.path)
        try:
            scored = score(one.dataset.task, predictions)
        except Unscored as error:
            unscored[one.dataset.name] = str(error)
            continue
        if scored != predictions:
            save(one.path, scored)
        seen.append((one, Measured(one.dataset.task, scored)))
    nothing: Seen = {one.modality: {} for one in asks}
    return nothing | _by_modality(seen), unscored


def _means(seen: Seen) -> dict[str, dict[str, float]]:
    return {modality: {name: one.score for name, one in mine.items()} for modality, mine in seen.items()}


def _flat(seen: Seen) -> dict[str, Measured]:
    return {name: one for mine in seen.values() for name, one in mine.items()}


def _by_modality(pairs: Iterable[tuple[Ask, T]]) -> dict[str, dict[str, T]]:
    """Values by modality and dataset."""
    out: dict[str, dict[str, T]] = {}
    for one, value in pairs:
        out.setdefault(one.modality, {})[one.dataset.name] = value
    return out


def _examples(dataset: str, predictions: Sequence[Prediction]) -> list[Example]:
    """A few predictions from all over the test, always the same ones."""
    step = max(1, len(predictions) // EXAMPLES)
    return [
        Example(dataset=dataset, **one.model_dump(include={"id", "question", "prediction", "references"}))
        for one in predictions[::step][:EXAMPLES]
    ]
