"""python -m serving: the server, on loopback unless told otherwise.

The port answers at once; /readyz turns green when the checkpoint is loaded. Exit code 2 is wrong use.
"""

import argparse
import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn

from modalities.checkpoint import Store, StoreError
from serving.api import create_app
from serving.live import Live
from serving.loading import ENGINES, SWAPS, Loader, has_vllm, loader
from serving.policy import DEFAULT, POLICY_VARIABLE, Policy, PolicyError, read_policy

GRACE = 30  # seconds that requests in flight have when the server is told to stop


class WrongUse(ValueError):
    """Something that the caller must change. The message says what."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until stopped."""
    options = _options(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    try:
        store = Store(options.store)
        checkpoint = _choose(store, options.checkpoint)
        keys = _keys(options.api_keys)
        engine = _engine(options.engine, options.engine_arg, options.swap)
        policy = read_policy(options.policy)
        listener = _listen(options.host, options.port)
        return _serve(store, checkpoint, engine, keys, policy, listener)
    except (WrongUse, StoreError, PolicyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _serve(
    store: Store, checkpoint: str, engine: Loader, keys: Sequence[str], policy: Policy, listener: socket.socket
) -> int:
    failures: list[Exception] = []

    def started(failure: Exception | None) -> None:
        if failure is not None:
            failures.append(failure)
            server.should_exit = True
            return
        now = live.current
        host, port = listener.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        senses = ", ".join(["text", *now.embedder.modalities])
        print(f"ready: {now.checkpoint.id} ({senses}) on http://{host}:{port}", flush=True)

    app = create_app(store, checkpoint=checkpoint, engine=engine, api_keys=keys, policy=policy, started=started)
    live: Live = app.state.live
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=GRACE,
        server_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if live.loading is not None:
        # A first load may be fetching for minutes yet; nothing it writes is visible before it is whole.
        sys.stderr.flush()
        os._exit(130)
    for failure in failures:
        if not isinstance(failure, ValueError | RuntimeError):
            raise failure
        print(f"error: {failure}", file=sys.stderr)
    return 2 if failures else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m serving", description="Serve an any-modality LLM over HTTP.")
    default = os.environ.get("POLYMERA_STORE", "store")
    parser.add_argument("--store", type=Path, default=default, help="the store's folder (default: %(default)s)")
    parser.add_argument("--checkpoint", metavar="ID", help="default: the live one, else the store's newest")
    parser.add_argument("--engine", choices=ENGINES, help="default: vllm where it is installed, else transformers")
    parser.add_argument(
        "--engine-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="anything of vLLM's own, as often as needed: --engine-arg dtype=float32 --engine-arg max_model_len=4096",
    )
    parser.add_argument(
        "--swap",
        choices=SWAPS,
        default=SWAPS[0],
        help="how vLLM takes a new checkpoint: beside the old one on the same engine (default), drain the old one's "
        "requests first, or start a second engine",
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s, this machine only")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s; 0 takes a free one")
    parser.add_argument("--api-keys", type=Path, metavar="FILE", help="lock /generate and /modalities: one key a line")
    policy = os.environ.get(POLICY_VARIABLE) or DEFAULT
    wanted = f"what a checkpoint must reach to be deployed here (default: ${POLICY_VARIABLE}, else the shipped one)"
    parser.add_argument("--policy", type=Path, metavar="FILE", default=policy, help=wanted)
    return parser.parse_args(argv)


def _choose(store: Store, wanted: str | None) -> str:
    ids = store.ids()
    if wanted is not None:
        store.folder(wanted)
        return wanted
    if not ids:
        raise WrongUse(
            "The store has no checkpoint; point --store at one that has, or make one with: extend add-modality NAME"
        )
    return store.live() or ids[-1]


def _engine(name: str | None, given: Sequence[str], swap: str) -> Loader:
    arguments: dict[str, Any] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key.strip():
            raise WrongUse(f"--engine-arg {one[:80]!r} is no NAME=VALUE; write for example dtype=float32.")
        try:
            arguments[key.strip().replace("-", "_")] = json.loads(value)
        except ValueError:
            arguments[key.strip().replace("-", "_")] = value
    try:
        return loader(name or ("vllm" if has_vllm() else "transformers"), arguments, swap)
    except ValueError as error:
        raise WrongUse(str(error)) from None


def _keys(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        keys = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise WrongUse("The file given with --api-keys cannot be read; give a text file with one key a line.") from None
    if not keys:
        raise WrongUse("The file given with --api-keys holds no key; write one a line, or leave the option out.")
    return keys


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise WrongUse(f"There is no port {port}; give --port a number from 0 to 65535.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError:
        raise WrongUse(f"Cannot listen on {host} port {port}; stop what uses it, or choose another --port.") from None


if __name__ == "__main__":
    sys.exit(main())
