"""Ask a deployment every test item, with its media and blind, and keep what it says.

What answers here is what would serve: serving's own Deployment. It knows no score.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter
from tqdm import tqdm

from eval import EvalError
from eval.predictions import FOLDER, Prediction, asked, file_name, question, save
from modalities.base import BadMedia, Dataset
from modalities.checkpoint import Store, write
from modalities.embedder import PromptTooLong
from modalities.features import Features
from serving.deployment import Deployment
from serving.engine import Sampling
from serving.loading import loader

# The references have about 25 tokens (captions) and 5 (answers) at most: room for them, none for rambling on.
MAX_TOKENS = {"caption": 32, "qa": 10}
CHUNK = 256  # prompts embedded at once; bounds the memory


@dataclass(frozen=True)
class Ask:
    """One dataset of a modality, with media or blind, and the file in which the predictions are kept."""

    modality: str
    dataset: Dataset
    blind: bool
    path: Path


def plan(folder: Path, known: Mapping[str, Sequence[Dataset]], blind: bool, engine: str) -> list[Ask]:
    """All that is to be asked of a checkpoint, whose folder is given."""
    asks = []
    for modality, datasets in known.items():
        for one in datasets:
            for without in (False, True) if blind else (False,):
                name = file_name(one, without, engine=engine, max_tokens=MAX_TOKENS[one.task])
                asks.append(Ask(modality, one, without, folder / FOLDER / name))
    return asks


def fill(store: Store, checkpoint: str, asks: Sequence[Ask], engine: str) -> None:
    """Predict what is not on disk yet; only then is the model loaded. What is said is kept every CHUNK answers."""
    missing = [one for one in asks if not one.path.is_file()]

    async def predict_missing() -> None:
        deployment = await loader(engine).load(store, checkpoint)
        deployment.embedder.features = Features(store.features)
        try:
            for one in missing:
                started = one.path.with_suffix(".part")
                save(one.path, await predict(deployment, one.dataset, one.blind, started))
                started.unlink(missing_ok=True)
        finally:
            await deployment.close()

    if missing:
        asyncio.run(predict_missing())


async def predict(
    deployment: Deployment, dataset: Dataset, blind: bool = False, started: Path | None = None
) -> list[Prediction]:
    """What a deployment says about each test item, greedily; blind: without its media. Raises EvalError.

    `started` keeps what has been said so far: a run that is killed goes on there, with the same answers in the end.
    """
    prompts = [asked(sample, blind) for sample in dataset.test]
    unique = list(dict.fromkeys(prompts))  # blind, most prompts are the same few questions
    sampling = Sampling(max_tokens=MAX_TOKENS[dataset.task])
    said = dict(zip(unique, _read(started), strict=False))
    done = len(said)
    title = f"{dataset.name}, blind" if blind else dataset.name
    try:
        deployment.embedder.encode(part for prompt in unique[done:] for part in prompt)
        with tqdm(total=len(unique), initial=done, desc=title, unit="answer") as bar:
            for start in range(done, len(unique), CHUNK):
                chunk = unique[start : start + CHUNK]
                said |= zip(chunk, await deployment.answers(chunk, sampling, bar.update), strict=True)
                if started is not None:
                    write(started, json.dumps(list(said.values())).encode())
    except (BadMedia, PromptTooLong):
        await _name_culprit(deployment, dataset, blind)
        raise
    return [
        Prediction(
            id=sample.id,
            topic=sample.topic,
            question=question(sample),
            prediction=said[prompt].strip(),
            references=sample.answers,
        )
        for sample, prompt in zip(dataset.test, prompts, strict=True)
    ]


def _read(started: Path | None) -> list[str]:
    """The answers that a killed run has left, in the order of the prompts."""
    if started is None or not started.is_file():
        return []
    return TypeAdapter(list[str]).validate_json(started.read_bytes())


async def _name_culprit(deployment: Deployment, dataset: Dataset, blind: bool) -> None:
    """Raises EvalError that names the first test item which cannot be asked."""
    for sample in dataset.test:
        try:
            await deployment.embed(asked(sample, blind))
        except (BadMedia, PromptTooLong) as error:
            raise EvalError(f"{dataset.name}, test item {sample.id!r}: {error}") from None
