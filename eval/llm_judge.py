"""A language model as the judge of answers: the paper's prompt (eval/table10.py) to any OpenAI-compatible endpoint.

What cannot be used, and every failure, leaves an answer unscored with its reason, never 0.
Every outcome is kept under the hash of its question to the judge, failures too, so that a report can be made again byte
for byte without a network (`replay`); without that, what failed is asked again. It knows no dataset and no checkpoint.
"""

import asyncio
import hashlib
import json
import os
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import openai
from openai import AsyncOpenAI
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tqdm import tqdm

from eval import EvalError, table10
from eval.judge import Asked, Mark
from eval.report import Judging
from modalities.checkpoint import write

GIVE_UP = 8  # failures in a row, after all their retries, and the judge counts as away
WAIT = 60.0  # seconds; no retry waits longer
AWAY = "the judge is away"


class Settings(BaseModel):
    """A judge's TOML file. Prices are for a million tokens, in one currency."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = "https://api.openai.com/v1"
    model: str = "gpt-4o-mini"
    key_variable: str = "OPENAI_API_KEY"  # the environment variable that holds the key
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    max_tokens: Annotated[int, Field(ge=1)] = 64
    seed: int = 0
    timeout: Annotated[float, Field(gt=0)] = 30.0  # seconds of one try
    retries: Annotated[int, Field(ge=0)] = 4
    backoff: Annotated[float, Field(ge=0)] = 1.0  # seconds before the first retry; doubled before each next
    concurrency: Annotated[int, Field(ge=1)] = 8
    prompt_price: Annotated[float, Field(ge=0)] | None = None
    completion_price: Annotated[float, Field(ge=0)] | None = None


class Outcome(BaseModel):
    """What came of one question to the judge: a reply, or why there was none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reply: str | None = None
    failure: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


def read_settings(path: Path) -> Settings:
    """A judge's settings. Raises EvalError."""
    try:
        return Settings.model_validate(tomllib.loads(path.read_text()))
    except OSError:
        raise EvalError(f"There is no judge file {path.name!r}; see docs/gate.md for one.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise EvalError(f"{path.name}: {where}: {first['msg']}; known: {', '.join(Settings.model_fields)}") from None
    except ValueError as error:
        raise EvalError(f'{path.name} is not TOML ({error}); lines look like: model = "gpt-4o-mini"') from None


class LanguageModel:
    """The judge. `replay` asks nobody: what the cache does not hold is unscored."""

    def __init__(self, settings: Settings, cache: Path, replay: bool = False) -> None:
        self._settings, self._cache, self._replay = settings, cache, replay
        self._outcomes: list[Outcome] = []
        self._marks: list[Mark] = []

    @property
    def name(self) -> str:
        """See Judge."""
        return f"{self._settings.model} at {self._settings.base_url} (the paper's Table 10)"

    def marks(self, asked: Sequence[Asked]) -> list[Mark]:
        """See Judge. Raises EvalError when the endpoint refuses us for good."""
        honest = [one for one in asked if not table10.speaks(one.prediction)]
        outcomes = dict(zip(honest, asyncio.run(self._all(honest)), strict=True))
        marks = [_mark(outcomes.get(one)) for one in asked]
        self._outcomes += outcomes.values()
        self._marks += marks
        return marks

    def tally(self) -> Judging:
        """See Judge."""
        prompt = sum(one.prompt_tokens for one in self._outcomes)
        completion = sum(one.completion_tokens for one in self._outcomes)
        prices = self._settings.prompt_price, self._settings.completion_price
        cost = None if None in prices else (prompt * (prices[0] or 0) + completion * (prices[1] or 0)) / 1e6
        return Judging(
            judge=self.name,
            asked=len(self._marks),
            unscored=_counted(one.unscored for one in self._marks),
            notes=_counted(one.note for one in self._marks),
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost=cost,
        )

    async def _all(self, asked: Sequence[Asked]) -> list[Outcome]:
        """An outcome for each; what is asked twice is asked once."""
        questions = {one: self._question(one) for one in asked}
        known = {one: self._recall(question) for one, question in questions.items()}
        missing = [one for one, outcome in known.items() if outcome is None]
        if missing:
            room, run = asyncio.Semaphore(self._settings.concurrency), _Run()
            key = os.environ.get(self._settings.key_variable, "none")
            # Retries are ours: the client's own would not be counted, nor back off for as long.
            async with AsyncOpenAI(
                base_url=self._settings.base_url, api_key=key, timeout=self._settings.timeout, max_retries=0
            ) as client:
                with tqdm(total=len(missing), desc="judge", unit="answer") as bar:

                    async def ask(one: Asked) -> None:
                        async with room:
                            outcome = known[one] = await self._ask(client, questions[one], run)
                            write(self._path(questions[one]), outcome.model_dump_json().encode())
                            bar.update()

                    tasks = [asyncio.create_task(ask(one)) for one in missing]
                    try:
                        await asyncio.gather(*tasks)
                    finally:
                        for task in tasks:
                            task.cancel()
                        await asyncio.gather(*tasks, return_exceptions=True)
        return [outcome for outcome in (known[one] for one in asked) if outcome is not None]

    def _question(self, asked: Asked) -> dict[str, Any]:
        """The request, which is the cache's key."""
        return {
            "model": self._settings.model,
            "messages": [
                {"role": "system", "content": table10.SYSTEM},
                {"role": "user", "content": table10.question(asked)},
            ],
            "temperature": self._settings.temperature,
            "max_tokens": self._settings.max_tokens,
            "seed": self._settings.seed,
        }

    def _path(self, question: dict[str, Any]) -> Path:
        content = json.dumps([self._settings.base_url, question], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()
        return self._cache / digest[:2] / f"{digest}.json"

    def _recall(self, question: dict[str, Any]) -> Outcome | None:
        """What is known already; a failure is only taken for an answer when nobody is to be asked again."""
        path = self._path(question)
        try:
            found = Outcome.model_validate_json(path.read_bytes()) if path.is_file() else None
        except ValidationError:
            found = None  # damaged: as if it had not been asked
        if self._replay:
            return found or Outcome(failure="it is not in the cache")
        return found if found is not None and found.failure is None else None

    async def _ask(self, client: AsyncOpenAI, question: dict[str, Any], run: "_Run") -> Outcome:
        for attempt in range(self._settings.retries + 1):
            if run.failures >= GIVE_UP:
                return Outcome(failure=AWAY)
            try:
                answer = await client.chat.completions.create(**question)
                usage = answer.usage
                run.failures = 0
                return Outcome(
                    reply=(answer.choices[0].message.content or "") if answer.choices else "",
                    prompt_tokens=usage.prompt_tokens if usage else 0,
                    completion_tokens=usage.completion_tokens if usage else 0,
                )
            except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
                raise EvalError(
                    f"The judge refuses us (HTTP {error.status_code}); check base_url, model and "
                    f"${self._settings.key_variable}."
                ) from None
            except (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError) as error:
                failure = _failure(error)
                if attempt < self._settings.retries:
                    await asyncio.sleep(_pause(error, self._settings.backoff * 2**attempt))
            except openai.APIStatusError as error:
                return Outcome(failure=f"HTTP {error.status_code}")  # asking again would not change it
            except (openai.APIError, ValueError, AttributeError, TypeError):
                return Outcome(failure="an answer that is none of OpenAI's")
        run.failures += 1
        return Outcome(failure=failure)


class _Run:
    """Failures in a row, over all questions of one run."""

    failures = 0


def _mark(outcome: Outcome | None) -> Mark:
    """What an outcome is worth; none stands for an answer that nobody was asked about."""
    if outcome is None:
        return Mark(None, "it speaks to the judge")
    return Mark(None, outcome.failure) if outcome.reply is None else table10.parse(outcome.reply)


def _failure(error: Exception) -> str:
    match error:
        case openai.APITimeoutError():
            return "a timeout"
        case openai.RateLimitError():
            return "the rate limit"
        case openai.APIStatusError():
            return f"HTTP {error.status_code}"
    return "no connection"


def _pause(error: Exception, backoff: float) -> float:
    """Seconds to wait: as long as the server asks for, else as long as it is our turn to."""
    told = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
    return min(float(told) if told.isdigit() else backoff, WAIT)


def _counted(words: Any) -> dict[str, int]:
    return dict(sorted(Counter(word for word in words if word is not None).items()))
