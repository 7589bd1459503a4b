"""Recipes: every number of a training run, strictly read from a TOML file. They know no modality.

recipes/paper.toml is the paper's Table 9; recipes/embedded.toml is what two CPU cores can afford in half an hour;
recipes/shipped.toml is what the shipped checkpoint was made with.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SHIPPED = Path(__file__).parent / "recipes"

Share = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class RecipeError(ValueError):
    """A recipe that cannot be used. The message names the field and the cure."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(_Strict):
    """One training phase (a column of Table 9)."""

    batch: Count = 16  # samples a step
    lr_connector: Rate
    lr_llm: Rate | None = None
    epochs: Count = 1
    share: Share = 1.0  # of the phase's samples, drawn by media
    captions: Share = 1.0  # of the captions among them


class Warm(_Strict):
    """The connector's warm start: fit its tokens to the words that are said about the media. Not in the paper."""

    epochs: Count = 20
    batch: Count = 32
    lr: Rate = 1e-3
    decay: Annotated[float, Field(ge=0)] = 0.0  # AdamW's weight decay
    temperature: Annotated[float, Field(gt=0)] = 20.0


class Plain(_Strict):
    """Plain text beside the samples that the LLM is tuned on, in the backbone's own words. Not in the paper."""

    samples: Count
    tokens: Count = 64  # of an answer, at most


class Lora(_Strict):
    """LoRA on all linear layers of the backbone."""

    rank: Count
    alpha: Count


class Machine(_Strict):
    """How a run uses the machine; more memory or less, not another method."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of the frozen backbone and of the arithmetic
    rounded: bool = False  # in float32, where the CPU multiplies bfloat16: products with frozen weights in it, faster
    checkpointing: bool = False  # recompute activations in the backward pass instead of keeping them
    micro: Count | None = None  # samples at once; a step adds their gradients up. Absent: the whole batch
    tokens: Count | None = None  # at once, where a batch is long: a bite ends before it has more. Absent: no limit


class Options(_Strict):
    """What a method is run with besides; as it stands here, nothing. Which method takes which, its file says."""

    realign: Share | None = None  # afterwards, whatever the method: all connectors, on so much of D_1 … D_i (Table 5)
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0  # how many of the replayed samples are mispaired (Table 7)
    # Past the paper; docs/study.md says what each is.
    sweep: Literal["stage", "depth"] | None = (
        None  # the merge's coefficient, chosen: one a stage, or one a third of depth
    )
    connectors: bool = False  # M_i's connector is merged as the LLM is
    worst: bool = False  # realigning spends its samples where the gap is, and stops when there is none


class Recipe(_Strict):
    """All that decides what a run computes; it is kept in the checkpoint's manifest."""

    base_llm: str
    system: str | None = None  # the chat template's system message; absent: the template's own
    seed: int = 0
    replay: Share = 0.1  # r: how much of D_1 … D_i MERA's realigning sees; of D_1 … D_{i-1}, the replay method's tuning
    fresh: Share | None = None  # how much of what it was tuned on it sees again of D_i; absent: r, as of the others
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.03
    # How much of the questions over several senses (modalities/mixed.py) it learns besides. Not in the paper.
    mixed: Annotated[float, Field(ge=0, le=1)] = 0.0
    calibrate: bool = False  # standardise features, and speak as loud as words (connectors that can)
    machine: Machine = Machine()
    lora: Lora
    warm: Warm | None = None
    plain: Plain | None = None
    align: Phase
    tune: Phase
    realign: Phase
    options: Options = Options()


def load(name: str, options: Mapping[str, object] | None = None, **changes: object) -> Recipe:
    """A shipped recipe by name (`embedded`, `paper`), or a TOML file by path, with changes. Raises RecipeError."""
    path = SHIPPED / f"{name}.toml" if "/" not in name and not name.endswith(".toml") else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise RecipeError(f"No recipe {path.stem!r}; shipped are {known}, or give a .toml file.")
    try:
        values = tomllib.loads(path.read_text()) | changes
        if options:
            values["options"] = values.get("options", {}) | options
        return Recipe.model_validate(values)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"Recipe {path.name} is not TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecipeError(f"Recipe {path.name}: {where}: {first['msg'].lower()}.") from None
