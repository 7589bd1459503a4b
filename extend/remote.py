"""The running server, as `extend` sees it: deploy and rollback over HTTP. It knows no model."""

import os
from typing import Any

import httpx

from modalities.checkpoint import Store

PATIENCE = 300.0  # seconds; the server reads and checks a whole checkpoint before it answers


class RemoteError(ValueError):
    """The server cannot be reached or said no. The message names the cure."""


class Refused(RemoteError):
    """The server wants a GO of the gate for this checkpoint, or a reason to do without."""


class Server:
    """The admin routes of one Polymera server."""

    def __init__(self, url: str, store: Store) -> None:
        self.url = url.rstrip("/")
        self.store = store

    def check(self) -> None:
        """Is it there, and will it listen to us? Asked before hours of training, not after."""
        self._call("GET", "/admin/checkpoints")

    def deploy(self, id: str, override: str | None = None) -> dict[str, Any]:
        """Swap a checkpoint in; returns what is live now. Raises Refused without a GO, unless a reason is given."""
        return self._call("POST", "/admin/deploy", {"checkpoint": id, "override": override})

    def rollback(self) -> dict[str, Any]:
        """Swap the checkpoint before in; returns what is live now."""
        return self._call("POST", "/admin/rollback")

    def _call(self, verb: str, route: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token()}"}
        try:
            answer = httpx.request(verb, self.url + route, json=body, headers=headers, timeout=PATIENCE)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = type(error).__name__
            raise RemoteError(f"No server answers there ({why}); start one with: make serve") from None
        if answer.status_code == 401:
            raise RemoteError("The server refused the admin token; use its --store, or set POLYMERA_ADMIN_TOKEN.")
        try:
            content: dict[str, Any] = answer.json()
        except ValueError:
            raise RemoteError(f"What answers there is no Polymera server (HTTP {answer.status_code}).") from None
        if answer.is_error:
            detail = content.get("error", content)
            message = detail.get("message", detail) if isinstance(detail, dict) else detail
            if answer.status_code == 403:
                raise Refused(f'{message} Or give a reason to do without: extend deploy ID --override "…"')
            raise RemoteError(f"The server said no (HTTP {answer.status_code}): {message}")
        return content

    def _token(self) -> str:
        """POLYMERA_ADMIN_TOKEN, else the token that the server left in the store on this machine."""
        given = os.environ.get("POLYMERA_ADMIN_TOKEN")
        file = self.store.root / "admin-token"
        if given or file.is_file():
            return given or file.read_text().strip()
        raise RemoteError("There is no admin token; set POLYMERA_ADMIN_TOKEN, or use the server's --store.")
