"""Measure a checkpoint: predict, score, compare with the experts, gate, report. It knows no modality and no server."""

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

from eval import EvalError, diagnosis, experts, figures, golden, html, page, plain
from eval.bootstrap import RESAMPLES
from eval.compare import compare
from eval.experts import Experts, paired
from eval.gate import gate
from eval.judge import ExactMatch, Judge, agreement
from eval.predict import Ask, fill, plan
from eval.predictions import FOLDER, Measured, Prediction, digest, read, save, score, subset, topics
from eval.probe import probe_all
from eval.report import Example, Past, Report, TextLoss, measure
from eval.report import read as read_report
from eval.score import Unscored, others
from eval.tokens import has_java, tokenizer
from modalities.base import Dataset
from modalities.checkpoint import Checkpoint, Store, write
from modalities.userdata import datasets
from serving.loading import ENGINES
from serving.policy import Policy, read_policy

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
    judge: Judge | None = None,
    probes: bool = False,
    metrics: bool = False,
    resamples: int = RESAMPLES,
) -> Report:
    """Measure a checkpoint, gate it, and write report.json, report.md and report.html into its folder.

    What an earlier run has predicted is scored again, not predicted again. Raises EvalError and StoreError.
    """
    if engine not in ENGINES:
        raise EvalError(f"No engine {engine!r}; there is: {', '.join(ENGINES)}")
    policy, judge = policy or read_policy(), judge or ExactMatch()
    manifest, folder = store.load(checkpoint), store.folder(checkpoint)
    known = {
        modality: [subset(one, limit, SEED) for one in mine] for modality, mine in datasets(store, manifest).items()
    }
    _check_names(known)
    asks = plan(folder, known, blind, engine)
    fill(store, checkpoint, asks, engine)
    report = _report(
        store,
        manifest,
        asks,
        judge,
        said=plain.measure(store, manifest, folder / FOLDER) if policy.text else [],
        metrics=metrics,
        resamples=resamples,
        probes=probe_all(store, manifest, known) if probes else (),
        diagnosis=diagnosis.read(folder),
        limit=limit,
        engine=engine,
    )
    verdict = gate(report, policy).model_copy(update={"golden": golden.record(store, manifest)})
    report = report.model_copy(update={"verdict": verdict})
    store.write_json(folder / "report.json", report.model_dump(mode="json"))
    report = report.model_copy(update=_against_parent(store, manifest))
    store.write_json(folder / "report.json", report.model_dump(mode="json"))
    write(folder / "report.md", page.render(report).encode())
    write(folder / "report.html", html.render(report, known).encode())
    return report


def _check_names(known: Mapping[str, Sequence[Dataset]]) -> None:
    """Every modality has a dataset, and each dataset a name of its own."""
    if bare := [modality for modality, mine in known.items() if not mine]:
        raise EvalError(f"{bare[0]} has no datasets, so nothing can be measured; see its `datasets`.")
    name, times = Counter(one.name for mine in known.values() for one in mine).most_common(1)[0]
    if times > 1:
        raise EvalError(f"Two datasets have the name {name!r}; rename one of them.")


def _report(
    store: Store,
    checkpoint: Checkpoint,
    asks: Sequence[Ask],
    judge: Judge,
    said: Sequence[plain.Said],
    metrics: bool,
    resamples: int,
    **how: Any,
) -> Report:
    """Score the predictions, and put the figures together."""
    tasks = _by_modality((one, one.dataset.task) for one in asks)
    seen, unscored = _score([one for one in asks if not one.blind], judge)
    blind, _ = _score([one for one in asks if one.blind], judge)
    found = experts.look_up(store, checkpoint, seen, judge.name)
    scores = _of(seen, lambda one: one.score)
    flat, dark = _flat(seen), _flat(blind)
    agreed = agreement(judge)
    return Report(
        checkpoint=checkpoint.id,
        stage=checkpoint.stage,
        method=checkpoint.method,
        modalities=tuple(tasks),
        datasets=tasks,
        scores=scores,
        blind=_of(blind, lambda one: one.score),
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
        bounds=figures.bounds(tasks, _pairs(seen, found), _losses(said), resamples),
        text=_text(said),
        captions=_captions(flat) if metrics else {},
        unscored_items={name: one.unscored for name, one in flat.items() if one.unscored},
        warnings=tuple(_warnings(flat)),
        history=tuple(_history(store, checkpoint)),
        examples=tuple(example for name, one in flat.items() for example in _examples(name, one.predictions)),
        judging=judge.tally().model_copy(update={"agreement": agreed}),
        tokenizer=tokenizer(),
        seed=SEED,
        versions={"python": platform.python_version()} | {name: version(name) for name in RECORDED},
        **how,
    )


def _score(asks: Sequence[Ask], judge: Judge) -> tuple[Seen, dict[str, str]]:
    """Score what was said, and say why a dataset has no score. The scores are kept with the predictions."""
    seen: list[tuple[Ask, Measured]] = []
    unscored: dict[str, str] = {}
    for one in asks:
        predictions = read(one.path)
        try:
            scored = score(one.dataset.task, predictions, judge)
        except Unscored as error:
            unscored[one.dataset.name] = str(error)
            continue
        if scored != predictions:
            save(one.path, scored)
        seen.append((one, Measured(one.dataset.task, scored)))
    nothing: Seen = {one.modality: {} for one in asks}
    return nothing | _by_modality(seen), unscored


def _pairs(seen: Seen, found: Experts) -> dict[str, dict[str, figures.Pair]]:
    """The item scores of checkpoint and expert, where both are to be had and the expert's say anything."""
    pairs = {
        modality: {name: paired(seen[modality][name], expert) for name, expert in said.items()}
        for modality, said in found.said.items()
    }
    return {modality: {name: one for name, one in mine.items() if sum(one[1])} for modality, mine in pairs.items()}


def _losses(said: Sequence[plain.Said]) -> figures.Pair | None:
    return ([one.reference for one in said], [one.loss for one in said]) if said else None


def _text(said: Sequence[plain.Said]) -> TextLoss | None:
    if not said:
        return None
    tokens = sum(one.tokens for one in said)
    reference, loss = (sum(one) / tokens for one in zip(*((each.reference, each.loss) for each in said), strict=True))
    return TextLoss(prompts=len(said), tokens=tokens, reference=reference, loss=loss)


def _captions(flat: Mapping[str, Measured]) -> dict[str, dict[str, float]]:
    """What else is said of captions."""
    return {
        name: others([each.prediction for each in one.predictions], [each.references for each in one.predictions])
        for name, one in flat.items()
        if one.task == "caption"
    }


def _warnings(flat: Mapping[str, Measured]) -> Iterable[str]:
    """What looks like a fault of the set-up."""
    captions = {name: one for name, one in flat.items() if one.task == "caption"}
    for name, one in captions.items():
        if one.score == 0:
            yield f"CIDEr of {name} is 0: no caption shares a word with its references. Is the set-up at fault?"
    if captions and not has_java():
        yield f"Captions were tokenized {tokenizer()}; a Java runtime makes the tokens that others report on."


def _history(store: Store, checkpoint: Checkpoint) -> Iterable[Past]:
    """What the reports of earlier stages say, where there are any."""
    for one in store.lineage(checkpoint.id)[:-1]:
        try:
            report = read_report(store, one.id)
        except EvalError:
            continue
        yield Past(
            checkpoint=one.id,
            stage=one.stage,
            decision=report.verdict.decision if report.verdict else None,
            modalities=report.bounds.modalities,
            backward=report.gains.backward,
        )


def _against_parent(store: Store, checkpoint: Checkpoint) -> dict[str, Any]:
    """Items that its parent answers otherwise, where that was measured on them."""
    for one in store.lineage(checkpoint.id)[-2:-1]:
        try:
            return {"compared_with": one.id, "flips": compare(store, one.id, checkpoint.id).flips}
        except EvalError:
            pass
    return {}


def _of(seen: Seen, figure: Callable[[Measured], T]) -> dict[str, dict[str, T]]:
    return {modality: {name: figure(one) for name, one in mine.items()} for modality, mine in seen.items()}


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
