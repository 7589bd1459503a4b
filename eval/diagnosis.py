"""Forgotten or misaligned: what a stage has done to each older modality, and how it is said in plain words.

The paper's two causes of degradation (§3.2, Appendix A.1) are told apart by a probe that trains a modality's connector
alone, the LLM frozen: what that brings back was misaligned, what it cannot bring back the LLM has forgotten. This file
holds the figures and the verdict; extend/diagnose.py trains the probe.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, TypeAdapter, ValidationError

from eval import EvalError

FILE = "diagnosis.json"  # beside a checkpoint
NOTHING = 0.02  # nats a token: less is not called a loss
MOST = 0.5  # of a loss: what the probe must bring back for it to be called misaligned

Kind = Literal["kept", "misaligned", "forgotten"]


class Change(BaseModel):
    """One older modality after one stage. Losses are nats a token, on files that nothing was trained on here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modality: str
    drift: FiniteFloat  # of its connector: ‖after - before‖ / ‖before‖
    lost: FiniteFloat  # the loss after the stage less the loss before it
    regained: FiniteFloat  # what the probe takes off it again, less what it takes off where nothing was lost

    @property
    def kind(self) -> Kind:
        """What happened."""
        if self.lost <= NOTHING:
            return "kept"
        return "misaligned" if self.regained >= MOST * self.lost else "forgotten"


_CHANGES = TypeAdapter(tuple[Change, ...])


def read(folder: Path) -> tuple[Change, ...]:
    """The diagnosis beside a checkpoint, or nothing when there is none. Raises EvalError."""
    path = folder / FILE
    if not path.is_file():
        return ()
    try:
        return _CHANGES.validate_json(path.read_bytes())
    except ValidationError:
        raise EvalError(f"{folder.name}: {FILE} is damaged; run: extend diagnose {folder.name}") from None


def dump(changes: Sequence[Change]) -> list[dict[str, object]]:
    """The same as JSON."""
    return [change.model_dump(mode="json") for change in changes]


def words(change: Change) -> str:
    """One modality in a sentence."""
    moved = f"its connector moved by {change.drift:.1%}"
    if change.kind == "kept":
        return f"**{change.modality} is kept**: right answers are as likely as before the stage; {moved}."
    share = max(0.0, change.regained / change.lost)
    cost = f"a right answer costs {change.lost:.2f} nats a token more than before the stage"
    if change.kind == "misaligned":
        return (
            f"**{change.modality} is misaligned**: {cost}, but training its connector alone brings {share:.0%} of that "
            f"back. Realign on more data; {moved}."
        )
    return (
        f"**{change.modality} is forgotten**: {cost}, and training its connector alone brings only {share:.0%} of that "
        f"back. The LLM itself has changed; merge with a smaller share, or replay while tuning; {moved}."
    )


def section(changes: Sequence[Change]) -> list[str]:
    """The part of report.md; nothing without a diagnosis."""
    lines = "\n".join(f"- {words(change)}" for change in changes)
    return ["## What the stage did to older modalities", lines] if changes else []
