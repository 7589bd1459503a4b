"""What a recipe will cost, before anything starts: memory at its peak, and hours. It trains nothing.

The activations are not guessed: two small stacks of the real layers are run on PyTorch's meta device, which computes
shapes and no numbers, and what autograd would keep of them is counted.

Shapes: B = samples at once, L = tokens of a sample, D = backbone width, V = vocabulary.
"""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from extend import RunError
from extend.adapter import Adapter
from extend.machine import DTYPES
from extend.recipe import Lora, Phase, Recipe
from modalities.assets import AssetError
from modalities.backbone import backbone

SHIPPED = Path(__file__).parent / "plans"
TEXT_TOKENS, ANSWER_TOKENS = 60, 15  # of a question with its answer and the chat template; of the answer alone
STATE = 12  # bytes of a trained number and Adam's two moments; its gradient comes when the activations have gone
CONTEXT = 0.6e9  # bytes that CUDA itself takes
SUSTAINED = 47.0  # TFLOP/s: what Table 6's 53 hours on an RTX A6000 come to (docs/paper.md)


class Expected(BaseModel):
    """One stage, as far as its cost is known beforehand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    media_tokens: int = Field(ge=0)
    captions: int = Field(ge=0)
    questions: int = Field(ge=0)
    encoder_mb: float = 0.0
    features_gb: float = 0.0  # what the encoder cache takes on disk
    connector_params: int = 0


@dataclass(frozen=True)
class Cost:
    """Bytes at the peak of a stage's training, by what they are for, seconds, and bytes on disk."""

    name: str
    weights: float
    trained: float  # LoRA and connector, with Adam's moments
    activations: float
    rest: float
    seconds: float
    disk: float

    @property
    def peak(self) -> float:
        """All of it."""
        return self.weights + self.trained + self.activations + self.rest


def plan(store: Path, recipe: Recipe, name: str, *, tflops: float = SUSTAINED) -> list[Cost]:
    """Each stage of the shipped plan `name` (or a .toml file) under a recipe. Raises RunError."""
    shape, stages = read(name)
    config = shape_of(store, recipe.base_llm, shape)
    captions = questions = 0
    costs: list[Cost] = []
    for stage in stages:
        tokens = stage.media_tokens + TEXT_TOKENS
        micro = recipe.machine.micro or max(recipe.tune.batch, recipe.align.batch)
        if recipe.machine.tokens is not None:
            micro = min(micro, max(1, recipe.machine.tokens // tokens))
        bytes_ = memory(config, recipe, micro, tokens, micro * ANSWER_TOKENS)
        trained, lora = float(STATE * stage.connector_params), bytes_["lora"]
        captions, questions = captions + stage.captions, questions + stage.questions
        passes = (5 if recipe.machine.checkpointing else 4) * bytes_["params"]  # forward 2, backward 2, again 1 … of N
        shown = _shown(recipe.align, stage.captions, 0) + _shown(recipe.tune, stage.captions, stage.questions)
        if costs:
            shown += _replayed(recipe, stage, captions, questions)
        costs.append(
            Cost(
                stage.name,
                bytes_["weights"],
                trained + lora,
                bytes_["activations"],
                CONTEXT + 1e6 * stage.encoder_mb,
                tokens * passes * shown / (tflops * 1e12),
                1e9 * stage.features_gb,
            )
        )
    return costs


def _shown(phase: Phase, captions: float, questions: float) -> float:
    """How many samples a phase is shown."""
    return phase.share * (phase.captions * captions + questions)


def _replayed(recipe: Recipe, new: Expected, captions: int, questions: int) -> float:
    """How many samples the realigning is shown; `captions` and `questions` are those of all modalities so far."""
    if recipe.fresh is None:
        return recipe.replay * _shown(recipe.realign, captions, questions)
    old = recipe.replay * _shown(recipe.realign, captions - new.captions, questions - new.questions)
    tuned = _shown(recipe.tune, new.captions, 0), _shown(recipe.tune, 0, new.questions)
    return old + recipe.fresh * _shown(recipe.realign, *tuned)


def read(name: str) -> tuple[dict[str, Any], list[Expected]]:
    """The backbone's shape and the expected stages of a plan. Raises RunError."""
    path = SHIPPED / f"{name}.toml" if not name.endswith(".toml") else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise RunError(f"No plan for {path.stem!r}; shipped are {known}, or give a .toml file by --stages.")
    try:
        content = tomllib.loads(path.read_text())
        return content.get("backbone", {}), [Expected.model_validate(stage) for stage in content["stages"]]
    except (tomllib.TOMLDecodeError, ValidationError, KeyError) as error:
        raise RunError(f"The plan {path.name} cannot be read ({str(error).splitlines()[0]}).") from None


def shape_of(store: Path, base_llm: str, shape: dict[str, Any]) -> Any:
    """The backbone's configuration: its own where it lies in the store's assets, else the plan's for this very one.

    Raises RunError.
    """
    from transformers import CONFIG_MAPPING

    name = base_llm.partition("@")[0]
    if (store / "assets" / name / "config.json").is_file() or shape.get("base_llm") != name:
        try:
            shape = json.loads((backbone(store, base_llm) / "config.json").read_text())
        except AssetError as error:
            raise RunError(str(error)) from None
    return CONFIG_MAPPING[shape["model_type"]](
        **{key: value for key, value in shape.items() if key not in ("model_type", "base_llm")}
    )


def memory(config: Any, recipe: Recipe, batch: int, length: int, answers: int) -> dict[str, float]:
    """Bytes of a training step with LoRA on the whole backbone: weights, lora, activations; and `params`, a count."""
    size = DTYPES[recipe.machine.precision].itemsize
    one, two = (_stack(config, layers, recipe, batch, length, answers) for layers in (1, 2))
    layers = config.num_hidden_layers
    total = {key: one[key] + (layers - 1) * (two[key] - one[key]) for key in one}
    layer = two["saved"] - one["saved"]
    kept = total["saved"]
    if recipe.machine.checkpointing:  # each layer's input, and all of the layer that is being recomputed
        kept = one["saved"] + layers * batch * length * config.hidden_size * size
    logits = answers * config.vocab_size * (size + 3 * 4)  # themselves, in float32, their softmax and their gradient
    transient = max(logits, layer / 3 if recipe.machine.checkpointing else 0)
    return {
        "params": total["params"],
        "weights": total["params"] * (size + (2 if recipe.machine.rounded and size == 4 else 0)),
        "lora": total["lora"] * STATE,
        "activations": kept + transient,
    }


def _stack(config: Any, layers: int, recipe: Recipe, batch: int, length: int, answers: int) -> dict[str, float]:
    """Parameters, LoRA's parameters, and the bytes that autograd keeps of a forward pass, for a stack of layers."""
    from transformers import AutoModelForCausalLM

    small = type(config).from_dict(config.to_dict() | {"num_hidden_layers": layers, "layer_types": None})
    dtype = DTYPES[recipe.machine.precision]
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return value

    with torch.device("meta"):
        llm: Any = AutoModelForCausalLM.from_config(small, dtype=dtype)
        params = sum(value.numel() for value in llm.parameters())
        for value in llm.parameters():
            value.requires_grad_(False)
        with Adapter(llm, Lora(rank=recipe.lora.rank, alpha=recipe.lora.alpha)) as adapter:
            lora = sum(value.numel() for value in adapter.parameters)
            llm.to(dtype)  # autocast computes LoRA in the backbone's precision
            own = {value.untyped_storage()._cdata for value in llm.parameters()}
            embeds = torch.empty(batch, length, config.hidden_size, dtype=dtype, requires_grad=True)  # (B, L, D)
            mask = torch.ones(batch, 1, length, length, dtype=torch.bool)
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
                hidden = llm.base_model(inputs_embeds=embeds, attention_mask=mask, use_cache=False).last_hidden_state
            del hidden
    saved = sum(size for storage, size in kept.items() if storage not in own)
    return {"params": params, "lora": lora, "saved": saved}
