"""The policy: what a checkpoint must reach before it may serve. It belongs to the server; the gate judges by it.

It does not know how anything is measured.
"""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

POLICY_VARIABLE = "POLYMERA_POLICY"  # names another file, for the server and for the gate
DEFAULT = Path(__file__).with_name("gate.toml")


class PolicyError(ValueError):
    """A policy that cannot be read. The message is one line and names the cure."""


class Policy(BaseModel):
    """The least that a checkpoint must reach, as shares of the experts' scores (gate.toml says what each is)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    aggregate: float = 0.95
    modality: float = 0.90
    dataset: float = 0.85
    forward: float = 0.80
    text: float = 0.98
    unscored: float = 0.05
    expert: bool = False


def read_policy(path: Path = DEFAULT) -> Policy:
    """The policy in a TOML file; a key that is left out keeps its default. Raises PolicyError."""
    try:
        values = tomllib.loads(path.read_text())
    except OSError:
        raise PolicyError(f"There is no policy file {path.name!r}; the shipped one is serving/gate.toml.") from None
    except ValueError as error:
        raise PolicyError(f"{path.name} is not TOML ({error}); lines look like: modality = 0.90") from None
    known = Policy.model_fields
    if unknown := values.keys() - known.keys():
        raise PolicyError(f"{path.name}: unknown key {min(unknown)!r}; known: {', '.join(known)}")
    for key, value in values.items():
        if known[key].annotation is bool:
            if not isinstance(value, bool):
                raise PolicyError(f"{path.name}: {key} = {value!r} is neither true nor false.")
        # More than 2 is a per cent figure typed where a share belongs.
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2:
            raise PolicyError(f"{path.name}: {key} = {value!r} is no share; write 0.95 for 95 %")
    return Policy(**values)
