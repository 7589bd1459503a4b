"""Golden prompts: plain questions whose answers tell whether the weights in memory are those that were judged.

The gate writes down what a checkpoint says *for certain*: its greedy tokens up to the first place where the second
choice came near. Any engine, in any precision and under any load, has to say the same; one that does not has other
weights in it. Plain text reaches every weight of the LLM; connectors are covered by the hashes of their files.
"""

import json
from contextlib import aclosing

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from modalities.base import TEXT, Part
from modalities.checkpoint import Store
from serving.deployment import Deployment
from serving.engine import Sampling

FILE = "golden.json"


class NotGolden(RuntimeError):
    """A deployment does not say what its checkpoint said when it was judged. The message names the cure."""


class Golden(BaseModel):
    """A prompt, and the tokens with which the answer begins for certain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str
    tokens: tuple[int, ...]


_LIST = TypeAdapter(tuple[Golden, ...])


def save(store: Store, checkpoint: str, golden: tuple[Golden, ...]) -> None:
    """Keep what a checkpoint says for certain beside it."""
    store.write_json(store.folder(checkpoint) / FILE, _LIST.dump_python(golden, mode="json"))


def read(store: Store, checkpoint: str) -> tuple[Golden, ...]:
    """What the gate wrote down; nothing for a checkpoint that was never gated. Raises NotGolden. Blocking."""
    path = store.folder(checkpoint) / FILE
    if not path.is_file():
        return ()
    try:
        return _LIST.validate_python(json.loads(path.read_bytes()))
    except (ValueError, ValidationError):
        raise NotGolden(f"{checkpoint}: its {FILE} is damaged; gate it again: extend gate {checkpoint}.") from None


async def confirm(deployment: Deployment, golden: tuple[Golden, ...]) -> None:
    """Ask the golden prompts, one after the other: together they would hold everybody else up for their prefill.

    Raises NotGolden, and whatever the engine raises.
    """
    for one in golden:
        if one.tokens and await _say(deployment, one) != one.tokens:
            raise NotGolden(
                f"{deployment.checkpoint.id} does not say what it said when it was judged (to {one.prompt!r}); "
                "gate it again, or deploy another."
            )


async def _say(deployment: Deployment, golden: Golden) -> tuple[int, ...]:
    prompt = await deployment.embed([Part(TEXT, golden.prompt)])
    sampling = Sampling(max_tokens=len(golden.tokens))
    async with aclosing(deployment.engine.stream(prompt.embeds, sampling)) as tokens:
        return tuple([token async for token in tokens])
