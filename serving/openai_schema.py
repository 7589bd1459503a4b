"""The OpenAI chat format, as far as it means something here: what is taken, and what is made of it.

A content part's type names a modality, so a new one changes nothing: `image_url` and `{"image": …}` are `image`,
`input_audio` is `audio`, `{"type": "pointcloud", "pointcloud": {"data": …}}` is `pointcloud`. Parameters that change
nothing are taken; those that would ask for something else are refused by name.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modalities.base import TEXT, Modality, Part
from modalities.embedder import Turn
from serving.engine import Sampling
from serving.errors import BadRequest
from serving.schema import MAX_PARTS, MAX_TOKENS, TIMEOUT, Strict, media_part

LIVE = "polymera"  # the model's name that means: whatever is live
MAX_TURNS = 64
# Names that the format has and this server has not, with the value at which they change nothing.
NEUTRAL: Mapping[str, Any] = {
    "n": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False, "logit_bias": {},
    "response_format": {"type": "text"}, "tools": [], "modalities": ["text"],
}  # fmt: skip
IGNORED = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"})


class Message(Strict):
    """One message: its text, or its parts."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[dict[str, Any]]
    name: str | None = None


class StreamOptions(Strict):
    """What a stream tells besides the answer."""

    include_usage: bool = False
    include_obfuscation: bool = False


class ChatRequest(BaseModel):
    """POST /v1/chat/completions."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    model: str = Field(LIVE, description="`polymera` for the live one, or a resident checkpoint's id.")
    messages: list[Message] = Field(min_length=1, max_length=MAX_TURNS)
    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False, description="Left out: 0, greedy.")
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: str | list[str] | None = Field(None, max_length=200)
    timeout: float = Field(TIMEOUT, gt=0, le=3600, description="Seconds in which the answer must be whole.")
    stream: bool = False
    stream_options: StreamOptions | None = None

    def sampling(self) -> Sampling:
        """The same, as the engine takes it. Raises BadRequest."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stop) > 8 or not all(0 < len(one) <= 200 for one in stop):
            raise BadRequest("stop: give at most 8 strings of 1 to 200 characters.")
        most = self.max_completion_tokens or self.max_tokens or 256
        return Sampling(most, self.temperature or 0.0, self.seed or 0, tuple(stop))

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint that is asked for, or None for the live one."""
        return None if self.model == LIVE else self.model

    def check(self) -> None:
        """Raises BadRequest for a parameter that asks for what this server does not do."""
        for name, value in (self.model_extra or {}).items():
            if name in IGNORED or value is None or (name in NEUTRAL and value == NEUTRAL[name]):
                continue
            raise BadRequest(f"{name[:80]}: this server does not know it or has it fixed; leave it out.")


def turns(request: ChatRequest, known: Mapping[str, Modality]) -> list[Turn]:
    """The messages as turns. Raises BadRequest, TooLarge and UnknownModality. Blocking: it decodes files."""
    found = [_turn(number, message, known) for number, message in enumerate(request.messages)]
    if sum(len(turn.parts) for turn in found) > MAX_TURNS + MAX_PARTS:
        raise BadRequest(f"messages: at most {MAX_TURNS + MAX_PARTS} parts in all.")
    if found[-1].role != "user":
        raise BadRequest("messages: the last one must be the user's.")
    return found


def _turn(number: int, message: Message, known: Mapping[str, Modality]) -> Turn:
    role = "system" if message.role == "developer" else message.role
    content = message.content if isinstance(message.content, list) else [{"type": TEXT, TEXT: message.content}]
    parts = tuple(_part(f"messages.{number}.content.{place}", item, known) for place, item in enumerate(content))
    if role == "system" and number:
        raise BadRequest(f"messages.{number}: only the first message may be the system's.")
    if role != "user" and any(part.modality != TEXT for part in parts):
        raise BadRequest(f"messages.{number}: only a user's message may hold files.")
    return Turn(role, parts)


def _part(where: str, item: Mapping[str, Any], known: Mapping[str, Modality]) -> Part:
    kind = item.get("type")
    if not isinstance(kind, str) or set(item) != {"type", kind}:
        raise BadRequest(f'{where}: a part is {{"type": "text", "text": …}} or {{"type": X, X: {{…}}}}.')
    value = item[kind]
    if kind == TEXT:
        if not isinstance(value, str):
            raise BadRequest(f"{where}: text must be a string.")
        return media_part(TEXT, value, known)
    name = kind.removesuffix("_url") if kind.endswith("_url") else kind.removeprefix("input_")
    key = "url" if kind.endswith("_url") else "data"
    if not isinstance(value, dict) or not isinstance(value.get(key), str):
        raise BadRequest(f'{where}: {kind[:80]} must be an object with "{key}": a data: URI or base64.')
    if "://" in value[key][:20]:
        raise BadRequest(f"{where}: this server fetches nothing; send the file as a data: URI.")
    return media_part(name, value[key], known)
