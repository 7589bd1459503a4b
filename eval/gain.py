"""Relative Gain (§5.1), in the paper's names: pure functions of scores. Knows no model, no file and no threshold.

S[k] = score on the k-th dataset of a modality, S_sup[k] = its individually trained expert's score on the same.
i = incremental stage, j = modality (1 … i, in learning order), m = the last stage.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, RootModel, ValidationError, model_validator

from eval import EvalError

Scores = Mapping[str, float]  # dataset -> score


def relative_gain(S: Scores, S_sup: Scores) -> float:
    """Relative Gain of one modality: the mean over its datasets of S[k] / S_sup[k]."""
    assert S, "A Relative Gain needs the score of at least one dataset."
    return fmean(S[k] / S_sup[k] for k in S)


def backward(gains: Sequence[float]) -> float:
    """Backward Relative Gain: the mean Relative Gain of all modalities but the newest; 1.0 when there is one only."""
    assert gains, "A Backward Relative Gain needs at least one modality."
    return fmean(gains[:-1]) if len(gains) > 1 else 1.0


def forward(gains: Sequence[float]) -> float:
    """Forward Relative Gain: the newest modality's Relative Gain."""
    return gains[-1]


class Order(BaseModel):
    """The raw scores of one training order: a table like the paper's 11 and 12."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    order: tuple[str, ...]
    datasets: dict[str, tuple[str, ...]]
    experts: dict[str, Annotated[FiniteFloat, Field(gt=0)]]
    methods: dict[str, dict[int, dict[str, FiniteFloat]]]  # method -> stage -> dataset -> score

    @model_validator(mode="after")
    def _is_whole(self) -> "Order":
        """Stages 1 … m without a hole; an expert for each dataset; each stage scores what it has learned, no more."""
        for j in self.order:
            if not self.datasets.get(j):
                raise ValueError(f"the modality {j!r} has no datasets; name them under `datasets`")
            for k in self.datasets[j]:
                if k not in self.experts:
                    raise ValueError(f"the dataset {k!r} has no expert; add its score under `experts`")
        for method, stages in self.methods.items():
            if sorted(stages) != list(range(1, len(self.order) + 1)):
                raise ValueError(f"{method!r} must have the stages 1 … {len(self.order)}, one for each modality")
            for i, scores in stages.items():
                learned = self.order[:i]
                if extra := scores.keys() - {k for j in learned for k in self.datasets[j]}:
                    raise ValueError(f"{method!r} scores {min(extra)!r} at stage {i}, which has not learned it")
                if bare := [j for j in learned if not scores.keys() & set(self.datasets[j])]:
                    raise ValueError(f"{method!r} has no score of {bare[0]!r} at stage {i}; add it")
        return self

    def gains(self, scores: Scores, i: int) -> list[float]:
        """The Relative Gain of modalities 1 … i, each over those of its datasets that have a score."""
        return [
            relative_gain({k: scores[k] for k in self.datasets[j] if k in scores}, self.experts) for j in self.order[:i]
        ]


class Tables(RootModel[Annotated[dict[str, Order], Field(min_length=1)]]):
    """Raw scores by training order."""


Table: TypeAlias = dict[str, dict[str, dict[str, Any]]]  # order -> method -> figures


def read_tables(file: Path) -> Tables:
    """The raw scores in a JSON file. Raises EvalError."""
    try:
        return Tables.model_validate_json(file.read_bytes())
    except OSError:
        raise EvalError(f"There is no file {file.name!r}; give one like tests/eval/paper_tables.json") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = " > ".join(str(step) for step in first["loc"]) or "the whole file"
        raise EvalError(f"{file.name}, {where}: {first['msg'].removeprefix('Value error, ')}") from None


def table(tables: Tables) -> Table:
    """For each order and method the Backward Relative Gain of all stages and the worst modality, in per cent.

    Stage 1 has nothing older, so its own Relative Gain stands there: 100 % wherever plain fine-tuning made it (it is
    the expert), less for EProj, which tunes no LLM (Figure 3). `missing` names datasets that the last stage lacks.
    """
    return {
        name: {method: _row(order, stages) for method, stages in order.methods.items()}
        for name, order in tables.root.items()
    }


def _row(order: Order, stages: Mapping[int, Scores]) -> dict[str, Any]:
    m = len(order.order)
    gains = {i: order.gains(stages[i], i) for i in range(1, m + 1)}
    percent = [100 * (forward(gains[1]) if i == 1 else backward(gains[i])) for i in gains]
    worst, worst_modality = min(zip(gains[m], order.order, strict=True))
    return {
        "stages": percent,
        "mean": fmean(percent),
        "std": stdev(percent) if m > 1 else 0.0,
        "worst": 100 * worst,
        "worst_modality": worst_modality,
        "missing": [k for j in order.order for k in order.datasets[j] if k not in stages[m]],
    }


def text(rows: Table) -> str:
    """The same for a reader: aligned columns, one block an order."""
    width = max(len(method) for methods in rows.values() for method in methods)
    lines = []
    for order, methods in rows.items():
        m = max(len(row["stages"]) for row in methods.values())
        heads = [f"stage {i}" for i in range(1, m + 1)]
        lines.append(f"{order}: Backward Relative Gain in per cent")
        lines.append(f"{'':{width}} " + " ".join(f"{head:>8}" for head in [*heads, "mean", "std", "worst"]))
        for method, row in methods.items():
            cells = " ".join(f"{value:8.2f}" for value in [*row["stages"], row["mean"], row["std"], row["worst"]])
            lines.append(f"{method:{width}} {cells}  {row['worst_modality']}")
        missing = sorted({name for row in methods.values() for name in row["missing"]})
        lines += [f"The last stage has no score of {', '.join(missing)}."] if missing else []
        for method, row in methods.items():
            lines += [f"{method}: {row['decision']}. {' '.join(row['reasons'])}"] if "decision" in row else []
        lines.append("")
    return "\n".join(lines).rstrip()
