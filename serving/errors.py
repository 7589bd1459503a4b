"""What goes wrong, as HTTP says it: a status, a type, and one line that names the cure.

    Problem            raised by the HTTP layer itself
    ├── BadRequest     422
    ├── TooLarge       413
    ├── TooSlow        408
    ├── Unauthorized   401
    ├── NotFound       404
    ├── Busy           429
    └── TooLate        504

What the layers below raise is listed in `_KNOWN`. Anything else is a bug: logged whole, told as "internal".
"""

import logging
from dataclasses import dataclass, field

from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from modalities.assets import AssetError
from modalities.base import BadMedia, UnknownModality
from modalities.checkpoint import StoreError
from modalities.embedder import PromptTooLong
from serving.clearance import NotCleared
from serving.engine import Conflict, EngineError
from serving.golden import NotGolden
from serving.live import NotReady, NotResident

log = logging.getLogger(__name__)


class Problem(Exception):
    """A request that is answered with an error."""

    status = 500
    type = "internal"
    headers: dict[str, str] = {}


class BadRequest(Problem):
    """It does not say what is wanted."""

    status, type = 422, "invalid_request"


class TooLarge(Problem):
    """More bytes than are taken."""

    status, type = 413, "too_large"


class TooSlow(Problem):
    """The body did not come."""

    status, type = 408, "too_slow"


class Unauthorized(Problem):
    """No token, or a wrong one."""

    status, type = 401, "unauthorized"
    headers = {"WWW-Authenticate": "Bearer"}


class NotFound(Problem):
    """There is no such thing."""

    status, type = 404, "not_found"


class Busy(Problem):
    """Too many wait already."""

    status, type = 429, "busy"
    headers = {"Retry-After": "1"}


class TooLate(Problem):
    """The answer was not whole in time."""

    status, type = 504, "too_late"


_KNOWN: tuple[tuple[type[Exception], int, str], ...] = (
    (BadMedia, 422, "bad_media"),
    (UnknownModality, 422, "unknown_modality"),
    (PromptTooLong, 422, "prompt_too_long"),
    (StoreError, 422, "bad_checkpoint"),
    (AssetError, 422, "bad_checkpoint"),
    (NotGolden, 422, "bad_checkpoint"),
    (NotCleared, 403, "not_cleared"),
    (NotResident, 404, "not_resident"),
    (Conflict, 409, "conflict"),
    (NotReady, 503, "not_ready"),
    (EngineError, 503, "engine"),
)


@dataclass(frozen=True, slots=True)
class Told:
    """An error as the client sees it."""

    status: int
    type: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, str]:
        """What stands under the key "error"."""
        return {"message": self.message, "type": self.type}

    @property
    def openai(self) -> dict[str, str | None]:
        """The same, as OpenAI's clients read it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"message": self.message, "type": kind, "param": None, "code": self.type}

    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse({"error": self.body}, self.status, self.headers)


def tell(error: Exception, request_id: str) -> Told:
    """What the client may know of an error. A bug is logged under the request's id, and only that id is told."""
    message = " ".join(str(error).split())
    if isinstance(error, Problem):
        return Told(error.status, error.type, message, error.headers)
    if isinstance(error, HTTPException):
        return Told(error.status_code, "http", f"{error.detail}.", dict(error.headers or {}))
    for known, status, kind in _KNOWN:
        if isinstance(error, known):
            return Told(status, kind, message, {"Retry-After": "1"} if status == 503 else {})
    log.error("request %s failed", request_id, exc_info=error)
    return Told(500, "internal", f"Something went wrong here; the server's log has it under request {request_id}.")


def first(error: ValidationError) -> BadRequest:
    """A validation error as one line: the first thing that is wrong, and where."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(step) for step in found["loc"])
    return BadRequest(f"{where}: {found['msg']}." if where else f"{found['msg']}.")
