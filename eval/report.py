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
from serving.policy import Policy

Scores = dict[str, dict[str, FiniteFloat]]  # modality -> dataset -> score
Decision = Literal["GO", "NO-GO", "INCONCLUSIVE"]


class Frozen(BaseModel):
    """Strict and immutable: what changes is replaced."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Weight(Frozen):
    """What one dataset adds to a figure's uncertainty: its part of the variance, at this number of items."""

    dataset: str
    n: int
    variance: FiniteFloat


class Interval(Frozen):
    """A share of the expert's score, above `lower` with 95 % certainty, and below `upper` with 95 %."""

    value: FiniteFloat
    lower: FiniteFloat
    upper: FiniteFloat
    weights: tuple[Weight, ...] = ()


class Bounds(Frozen):
    """All that the gate looks at. None where a modality that enters a figure is unscored, or nothing enters it."""

    datasets: dict[str, dict[str, Interval]] = {}  # modality -> dataset -> share of the expert's score
    modalities: dict[str, Interval] = {}  # modality -> Relative Gain
    aggregate: Interval | None = None  # Backward Relative Gain; none at the first stage
    capped: Interval | None = None  # the same, each modality counted as 1 where it is more
    geometric: Interval | None = None  # the same, as the geometric mean
    forward: Interval | None = None
    text: Interval | None = None


Kind = Literal["aggregate", "modality", "dataset", "forward", "text"]


class Check(Frozen):
    """One figure against its floor. `more` is about how many more items of which dataset would decide it."""

    kind: Kind
    name: str  # of the modality or the dataset; empty otherwise
    interval: Interval
    floor: FiniteFloat
    outcome: Literal["passed", "failed", "open"]
    more: dict[str, int] = {}


class Verdict(Frozen):
    """The gate's decision in words, what it rests on, and for what it was given: these bytes, this policy."""

    decision: Decision
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    policy: Policy
    checkpoint: str = ""  # its id holds the hash of every file
    golden: str = ""  # sha256 of its golden.json: what it says for certain (serving/golden.py)


class TextLoss(Frozen):
    """Mean loss a token of the backbone's own answers to plain prompts, in nats."""

    prompts: int
    tokens: int
    reference: FiniteFloat  # under θ_0
    loss: FiniteFloat  # under this checkpoint


class Agreement(Frozen):
    """How a judge fares on the shipped verdicts (eval/data/verdicts.json), which a language model wrote and checked."""

    n: int  # that it scored
    unscored: int
    accuracy: FiniteFloat
    kappa: FiniteFloat  # Cohen's


class Judging(Frozen):
    """Who judged the answers, and what came of it. Costs are those of the replies, cached ones included."""

    judge: str
    asked: int = 0
    unscored: dict[str, int] = {}  # reason -> answers
    notes: dict[str, int] = {}  # what was odd about replies that were taken
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: FiniteFloat | None = None  # in the price list's currency; none where no prices are given
    agreement: Agreement | None = None


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


class Past(Frozen):
    """An earlier stage of the same lineage: its share of each expert's score, as its own report says."""

    checkpoint: str
    stage: int
    decision: Decision | None
    modalities: dict[str, Interval]
    backward: FiniteFloat | None


class Flip(Frozen):
    """An item that this checkpoint answers better or worse than another."""

    dataset: str
    id: str
    question: str
    references: tuple[str, ...]
    before: str
    after: str
    change: FiniteFloat  # of the item's score


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
    bounds: Bounds = Bounds()
    text: TextLoss | None = None
    captions: dict[str, dict[str, FiniteFloat]] = {}  # dataset -> BLEU-4, ROUGE-L, METEOR; the gate takes none of them
    unscored_items: dict[str, dict[str, int]] = {}  # dataset -> reason -> items without a score
    warnings: tuple[str, ...] = ()
    history: tuple[Past, ...] = ()  # earlier stages, oldest first
    compared_with: str | None = None  # the checkpoint that `flips` compares with
    flips: tuple[Flip, ...] = ()
    examples: tuple[Example, ...]
    probes: tuple[Probe, ...] = ()
    diagnosis: tuple[Change, ...] = ()  # what the stage did to older modalities, where `extend diagnose` was run
    judging: Judging
    tokenizer: str  # which made the captions' tokens
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
