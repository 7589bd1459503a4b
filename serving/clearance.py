"""May this checkpoint go live? Only with a GO of the gate for exactly these bytes and this policy.

The gate leaves its verdict in report.json, of which this layer reads that alone: eval/ lies above. Whoever puts a
checkpoint live without a GO gives a reason, which is kept beside the checkpoint. It does not know how a verdict is
reached. That the files are those of the id is checked when they are loaded, as always.
"""

import json
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from modalities.checkpoint import Store, StoreError, hash_file
from serving.golden import FILE as GOLDEN
from serving.policy import Policy

OVERRIDES = "overrides.json"


class NotCleared(RuntimeError):
    """A checkpoint without a GO. The message says what is missing, and the cure."""


class Judged(BaseModel):
    """Of a verdict in report.json, what decides here."""

    model_config = ConfigDict(frozen=True)

    decision: Literal["GO", "NO-GO", "INCONCLUSIVE"]
    checkpoint: str
    golden: str
    policy: Policy
    reasons: tuple[str, ...] = ()


class Override(BaseModel):
    """That a checkpoint went live without a GO, when and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    time: str  # ISO 8601, UTC
    reason: str
    instead_of: str  # what the refusal would have been


_LIST = TypeAdapter(tuple[Override, ...])


def verdict(store: Store, checkpoint: str) -> Judged | None:
    """What the gate said of a checkpoint; None where it was never asked, or in words that are not understood here."""
    try:
        return Judged.model_validate(json.loads((store.folder(checkpoint) / "report.json").read_bytes())["verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def require(store: Store, checkpoint: str, policy: Policy) -> None:
    """Raises NotCleared unless the gate said GO of these very bytes by this very policy. Blocking."""
    said, cure = verdict(store, checkpoint), f"run: extend gate {checkpoint}"
    golden = store.folder(checkpoint) / GOLDEN
    if said is None:
        raise NotCleared(f"{checkpoint} has no verdict of the gate; {cure}")
    if said.checkpoint != checkpoint or not golden.is_file() or hash_file(golden) != said.golden:
        raise NotCleared(f"{checkpoint}: its verdict was not given for these bytes; {cure}")
    if said.policy != policy:
        odd = next(name for name in Policy.model_fields if getattr(said.policy, name) != getattr(policy, name))
        raise NotCleared(
            f"{checkpoint} was judged by another policy ({odd} = {getattr(said.policy, odd)}, here "
            f"{getattr(policy, odd)}); {cure} with this server's policy."
        )
    if said.decision != "GO":
        why = said.reasons[0] if said.reasons else "It gave no reason."
        raise NotCleared(f"{checkpoint}: the gate said {said.decision}. {why}")


def override(store: Store, checkpoint: str, reason: str, instead_of: str) -> None:
    """Keep the reason for which a checkpoint goes live without a GO. Blocking."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = Override(time=now, reason=reason, instead_of=instead_of)
    kept = _LIST.dump_python((*overrides(store, checkpoint), made), mode="json")
    store.write_json(store.folder(checkpoint) / OVERRIDES, kept)


def overrides(store: Store, checkpoint: str) -> tuple[Override, ...]:
    """All such reasons, oldest first. Raises StoreError. Blocking."""
    path = store.folder(checkpoint) / OVERRIDES
    if not path.is_file():
        return ()
    try:
        return _LIST.validate_json(path.read_bytes())
    except ValidationError:
        raise StoreError(f"{checkpoint}: its {OVERRIDES} is damaged; restore or delete it.") from None
