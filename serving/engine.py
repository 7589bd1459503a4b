"""What an engine is: embeddings in, token ids out. It knows no modality, no tokenizer and no HTTP.

    EngineError        something went wrong inside the engine; the request may be sent again
    └── EngineStopped  the engine is closed or dead; it takes no more requests
    Conflict           what is asked for cannot be done while something else is under way

Shapes: T = tokens, D = backbone width.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class EngineError(RuntimeError):
    """A request that the engine could not finish. The message names the cure."""


class EngineStopped(EngineError):
    """The engine is closed or dead."""


class Conflict(RuntimeError):
    """What was asked for cannot be done now. The message says why."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn. The same seed gives the same answer, whoever else is being served."""

    max_tokens: int = 64
    temperature: float = 0.0  # 0 = greedy
    seed: int = 0
    stop: tuple[str, ...] = ()  # for the deployment; an engine knows no text

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; ask for at least one.")
        if not 0.0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; give a finite number that is not negative.")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}; give a whole number from 0 to 2**63 - 1.")
        if not all(self.stop):
            raise ValueError("An empty stop string would stop every answer; leave it out.")


class Engine(Protocol):
    """One LLM with its weights, serving many requests at once."""

    @property
    def failure(self) -> str | None:
        """Why the engine takes no more requests, or None while it does."""

    def stream(self, embeds: Tensor, sampling: Sampling) -> AsyncGenerator[int, None]:
        """Token ids that continue the prompt (T, D), until an end token (not yielded) or `max_tokens`.

        Closing or cancelling the generator frees its place before the next step.
        Requests whose first token is awaited in the same iteration of the event loop are admitted together, in order.
        """

    async def settled(self) -> bool:
        """Return once the weights are where they will stay; whether any were moved under the requests."""

    async def close(self) -> None:
        """Stop serving and free the memory; whoever still waits gets EngineStopped."""


def check(embeds: Tensor, width: int, context: int) -> None:
    """A prompt that an engine can take, or ValueError. Blocking: it reads every number."""
    if embeds.ndim != 2 or embeds.shape[1] != width:
        raise ValueError(f"The prompt's embeddings have shape {tuple(embeds.shape)}; the model takes (T, {width}).")
    if not 0 < len(embeds) < context:
        raise ValueError(f"The prompt has {len(embeds)} tokens; the model takes 1 to {context - 1}.")
    if not embeds.isfinite().all():
        raise ValueError("The prompt's embeddings are not all finite numbers; send another file.")
