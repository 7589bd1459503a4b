"""What a measurement leaves behind: the types of report.json, and the figures that follow from raw scores.

It knows neither how scores are made nor what the gate demands.
"""

from collections.abc import Collection, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from eval import EvalError
from eval.diagnosis import Change
from eval.gain import backward, forward, relative_gain
from modalities.base import Task
from modalities.checkpoint import Store

Scores = dict[str, dict[str, FiniteFloat]]  # modality -> dataset -> score
Decision = Literal["GO", "NO-GO", "INCONCLUSIVE"]


class Frozen(BaseModel):
    """Strict and immutable: what changes is replaced."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Policy(Frozen):
    """The least that a checkpoint must reach, as shares of the experts' scores (gate.toml)."""

    backward: float = 0.95
    worst: float = 0.90


class Verdict(Frozen):
    """The gate's decision in words, and the policy it was made by."""

    decision: Decision
    reasons: tuple[str, ...]
    policy: Policy
    golden: str = ""  # sha256 of its golden.json: what it says for certain (serving/golden.py)


class Topic(Frozen):
    """Accuracy on one kind of question, and without the media where that was measured."""

    accuracy: FiniteFloat
    n: int
    blind: FiniteFloat | None = None


class Probe(Frozen):
    """What a linear classifier reads from the same frozen features: a ceiling for one kind of question."""

    modality: str
    topic: str
    accuracy: FiniteFloat
    majority: FiniteFloat
    n: int


class Gains(Frozen):
    """The paper's measures at this stage. None where a modality that enters them is unscored."""

    relative: dict[str, FiniteFloat]  # modality -> Relative Gain
    datasets: Scores  # each dataset's share of the expert's score
    backward: FiniteFloat | None
    forward: FiniteFloat | None
    worst: FiniteFloat | None
    worst_modality: str | None


class Example(Frozen):
    """A prediction to read."""

    dataset: str
    id: str
    question: str
    prediction: str
    references: tuple[str, ...]


class Report(Frozen):
    """report.json: what the gate saw."""

    checkpoint: str
    stage: int
    method: str
    modalities: tuple[str, ...]  # in learning order, the newest last
    datasets: dict[str, dict[str, Task]]  # modality -> dataset -> task
    scores: Scores  # CIDEr (times 100) or accuracy (0 … 1)
    blind: Scores  # the same without any media; empty when not measured
    experts: Scores  # the individually trained experts' scores
    expert_of: dict[str, str]  # modality -> whose scores these are
    unscored: dict[str, str]  # modality or dataset -> why, and the cure
    counts: dict[str, int]  # dataset -> test items
    items: dict[str, str]  # dataset -> digest of its test items: scores compare on equal digests only
    predictions: dict[str, str]  # dataset -> file under predictions/
    topics: dict[str, dict[str, Topic]]
    gains: Gains
    examples: tuple[Example, ...]
    probes: tuple[Probe, ...] = ()
    diagnosis: tuple[Change, ...] = ()  # what the stage did to older modalities, where `extend diagnose` was run
    judge: str
    seed: int
    limit: int | None
    engine: str
    versions: dict[str, str]
    verdict: Verdict | None = None


def measure(datasets: Mapping[str, Collection[str]], scores: Scores, experts: Scores) -> Gains:
    """The paper's measures from raw scores; `datasets` lists the modalities in learning order.

    A modality has a Relative Gain only when each of its datasets has a score and an expert's.
    """
    shares = {
        modality: {name: value / experts[modality][name] for name, value in scores[modality].items()}
        for modality in datasets
        if modality in scores and modality in experts
    }
    relative = {
        modality: relative_gain(scores[modality], experts[modality])
        for modality, names in datasets.items()
        if modality in shares and shares[modality].keys() == set(names)
    }
    *older, newest = datasets
    worst = min(relative, key=lambda modality: relative[modality], default=None)
    return Gains(
        relative=relative,
        datasets=shares,
        # The newest is no part of it; `backward` only wants its place filled.
        backward=backward([*(relative[one] for one in older), 0.0]) if relative.keys() >= set(older) else None,
        forward=forward([relative[newest]]) if newest in relative else None,
        worst=None if worst is None else relative[worst],
        worst_modality=worst,
    )


def read(store: Store, checkpoint: str) -> Report:
    """The report of a checkpoint. Raises EvalError when it has none, StoreError when there is no such checkpoint."""
    path = store.folder(checkpoint) / "report.json"
    if not path.is_file():
        raise EvalError(f"{checkpoint} has not been measured; run: python -m eval run {checkpoint}")
    return parse(path.read_bytes(), checkpoint)


def parse(data: bytes, whose: str) -> Report:
    """A report from its bytes. Raises EvalError."""
    try:
        return Report.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise EvalError(f"{whose}: report.json is damaged ({where}: {first['msg']}); measure it again.") from None
