"""What goes over HTTP, checked strictly: the bodies of requests and answers.

A part's key *is* a modality's name, so a new modality changes nothing here. Decoding megabytes of base64 is
work: `parse` and `parts` run in a thread.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from modalities.base import TEXT, Modality, Part, UnknownModality
from serving.engine import Sampling
from serving.errors import BadRequest, TooLarge, first

MAX_PARTS = 16
MAX_TEXT = 1_000_000  # characters of one text part; the model's context is far shorter, and counting tokens costs
MAX_TOKENS = 4096
TIMEOUT = 300.0  # seconds
BODY = 64 * 2**20  # a body has no more bytes than this, unless one file alone may

Content = Annotated[dict[str, str], Field(min_length=1, max_length=1)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
StopString = Annotated[str, Field(min_length=1, max_length=200)]


class Strict(BaseModel):
    """Nothing unknown, nothing converted on the quiet."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class GenerateRequest(Strict):
    """A prompt, and how the answer is to be drawn."""

    prompt: Annotated[
        list[Content],
        Field(
            min_length=1,
            max_length=MAX_PARTS,
            description="Parts in order, each an object with one key: `text`, or a modality's name with a file as "
            "base64 or as a data: URI.",
            examples=[[{"text": "What is the capital of France?"}]],
        ),
    ]
    max_tokens: int = Field(64, ge=1, le=MAX_TOKENS, description="The longest answer, in tokens.")
    temperature: float = Field(0.0, ge=0, le=2, allow_inf_nan=False, description="0 is greedy; higher is wilder.")
    seed: int = Field(0, ge=0, lt=2**63, description="The same seed draws the same answer.")
    stop: list[StopString] = Field([], max_length=8, description="The answer ends before the first of these strings.")
    stream: bool = Field(False, description="Server-sent events, a piece of text each, instead of one answer.")
    timeout: float = Field(TIMEOUT, gt=0, le=3600, description="Seconds in which the answer must be whole.")
    checkpoint: str | None = Field(None, description="Demand this checkpoint; null takes the live one.")

    def sampling(self) -> Sampling:
        """The same, as the engine takes it."""
        return Sampling(self.max_tokens, self.temperature, self.seed, tuple(self.stop))


class UsageOut(Strict):
    """What a request cost."""

    prompt_tokens: int = Field(description="Tokens of the prompt: chat template, text and media.")
    completion_tokens: int = Field(description="Tokens of the answer.")
    media_tokens: dict[str, int] = Field(description="How many of the prompt's tokens are which modality's.")


class Done(Strict):
    """How an answer ended: the last event of a stream."""

    finish_reason: Literal["stop", "length"] = Field(description="`length` when max_tokens or the context cut it off.")
    checkpoint: str = Field(description="The checkpoint that made the answer.")
    usage: UsageOut = Field(description="What it cost.")


class GenerateResponse(Done):
    """A whole answer."""

    text: str = Field(description="The answer.")


class ModalityOut(Strict):
    """A modality that the live checkpoint has learned."""

    name: str = Field(description="The key of its parts in a prompt.")
    media_types: list[str] = Field(description="Media types of its files.")
    suffixes: list[str] = Field(description="Suffixes of its files.")
    max_bytes: int = Field(description="The largest file that is taken.")


class ModalitiesOut(Strict):
    """What the live checkpoint understands besides text."""

    checkpoint: str = Field(description="The live checkpoint.")
    modalities: list[ModalityOut] = Field(description="In the order in which they were learned.")


class DeployRequest(Strict):
    """Which checkpoint is to go live."""

    checkpoint: str = Field(min_length=1, max_length=200, description="An id from the store, never a path.")
    override: Reason | None = Field(None, description="Why it goes live without a GO of the gate; kept and shown.")


class DeployResponse(Strict):
    """What is live now."""

    checkpoint: str = Field(description="The live checkpoint.")
    previous: str | None = Field(description="The one that was live before.")


class CheckpointOut(Strict):
    """A checkpoint of the store."""

    id: str = Field(description="Its id.")
    live: bool = Field(description="Whether it answers now.")
    resident: bool = Field(description="Whether it is in memory: live, or still finishing requests.")
    stage: int | None = Field(None, description="How many modalities it has learned.")
    method: str | None = Field(None, description="How it learned the newest.")
    modalities: list[str] = Field([], description="What it has learned, in order.")
    parent: str | None = Field(None, description="The checkpoint that it grew from.")
    verdict: str | None = Field(None, description="What the gate said of it, where it was asked.")
    overrides: list[str] = Field([], description="The reasons for which it went live without a GO, oldest first.")
    damaged: str | None = Field(None, description="Why it cannot be deployed, where that shows in its manifest.")


class CheckpointsOut(Strict):
    """All checkpoints of the store, oldest stage first."""

    checkpoints: list[CheckpointOut] = Field(description="One each.")


Body = TypeVar("Body", bound=BaseModel)


def parse(model: type[Body], body: bytes) -> Body:
    """JSON -> a request. Raises BadRequest. Blocking where the body is large."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise first(error) from None


def body_limit(modalities: Mapping[str, Modality]) -> int:
    """The largest body that a prompt for these modalities may have: base64 makes 4 bytes of 3."""
    largest = max((modality.max_bytes for modality in modalities.values()), default=0) * 4 // 3
    return max(min(MAX_PARTS * largest, BODY), largest) + 2**20


def parts(request: GenerateRequest, modalities: Mapping[str, Modality]) -> list[Part]:
    """The prompt as parts. Raises BadRequest, TooLarge and UnknownModality. Blocking."""
    found = [media_part(*item, modalities) for content in request.prompt for item in content.items()]
    if not any(part.content.strip() for part in found if isinstance(part.content, str | bytes)):
        raise BadRequest("prompt: it is empty; send a text or a file.")
    return found


def media_part(name: str, value: str, modalities: Mapping[str, Modality]) -> Part:
    """One part from its key and its string. Raises BadRequest, TooLarge and UnknownModality. Blocking."""
    if name == TEXT:
        if len(value) > MAX_TEXT:
            raise TooLarge(f"A text may have {MAX_TEXT} characters; this one has {len(value)}.")
        return Part(TEXT, value)
    if name not in modalities:
        known = ", ".join([TEXT, *modalities])
        raise UnknownModality(f"The live checkpoint has not learned {name[:80]!r}; it knows {known}.")
    limit = modalities[name].max_bytes
    if len(value) * 3 // 4 > limit + 200:  # a data: URI has a head
        raise TooLarge(f"{name}: a file may have {limit} bytes; send a smaller one.")
    data = _decode(name, value)
    if len(data) > limit:
        raise TooLarge(f"{name}: a file may have {limit} bytes, this one has {len(data)}; send a smaller one.")
    return Part(name, data)


def _decode(name: str, value: str) -> bytes:
    head, comma, rest = value.partition(",") if value.startswith("data:") else ("", "", value)
    if head and not (comma and head.endswith(";base64")):
        raise BadRequest(f"{name}: a data: URI must read data:<type>;base64,<data>.")
    try:
        data = base64.b64decode(rest, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(
            f"{name}: this is not base64; send the file's bytes as standard base64 with padding."
        ) from None
    if not data:
        raise BadRequest(f"{name}: the file is empty; send one that is not.")
    return data


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """How a body that the routes read themselves is described in the OpenAPI document."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}
