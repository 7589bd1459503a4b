"""From a checkpoint's id to a deployment, by either engine. What differs between engines in loading is here.

It knows the store and the engines; no HTTP, and not what is live.
"""

import asyncio
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from modalities.assemble import common, senses
from modalities.backbone import backbone
from modalities.checkpoint import Checkpoint, Store
from modalities.deltas import read_config
from modalities.embedder import Common, Embedder
from modalities.features import Features
from modalities.woven import refuse
from serving.deployment import Deployment, ids_of, in_process
from serving.pieces import Piece, Pieces
from serving.vllm_engine import Vllm, rank_for
from serving.vllm_swap import Host

ENGINES = ("vllm", "transformers")
SWAPS = ("beside", "drain", "second")

RECENT = 256  # files of which a deployment keeps the tokens, too

# Its own thread: a first load may fetch for minutes, and the shared ones are for what is short.
_LOADING = ThreadPoolExecutor(1, thread_name_prefix="load")


class Loader(Protocol):
    """Makes deployments. They share one encoder cache: a swap forgets no picture, for an encoder never changes."""

    features: Features

    async def load(self, store: Store, checkpoint: str) -> Deployment:
        """A checkpoint, read, hashed and tried, ready to serve. Raises StoreError, AssetError and EngineStopped."""


def loader(engine: str, arguments: Mapping[str, Any] | None = None, swap: str = "beside") -> Loader:
    """The loader of an engine; `arguments` are vLLM's own, `swap` how its weights change. Raises ValueError."""
    if engine not in ENGINES:
        raise ValueError(f"No engine {engine!r}; there is: {', '.join(ENGINES)}.")
    if engine == "transformers":
        if arguments:
            raise ValueError("Only vLLM takes engine arguments; leave them out, or ask for --engine vllm.")
        return InProcess()
    if not has_vllm():
        raise ValueError("vLLM is not installed; install it with: make vllm, or ask for --engine transformers.")
    if swap not in SWAPS:
        raise ValueError(f"No swap {swap!r}; there is: {', '.join(SWAPS)}.")
    return OnVllm(arguments or {}, swap)


def has_vllm() -> bool:
    """Whether vLLM can be imported here."""
    return find_spec("vllm") is not None


class InProcess:
    """Every deployment has an engine of its own, in this process."""

    def __init__(self) -> None:
        self.features = Features()

    async def load(self, store: Store, checkpoint: str) -> Deployment:
        """See Loader."""
        made = await asyncio.get_running_loop().run_in_executor(_LOADING, in_process, store, checkpoint)
        made.embedder.features = self.features
        return made


class OnVllm:
    """All deployments on one backbone share one vLLM, which swaps their weights while they run.

    `beside`: the new weights run as a LoRA until the old ones' requests have ended (vllm_swap.py). `drain`: they wait
    for that, and there is no LoRA. `second`: a whole new engine, in memory beside the old one for a while.
    """

    def __init__(self, arguments: Mapping[str, Any], swap: str = "beside") -> None:
        self.features = Features()
        self._swap = swap
        self._arguments = dict(arguments)
        self._hosts: dict[str, Host] = {}  # by backbone
        self._common: dict[str, Common] = {}  # by backbone

    async def load(self, store: Store, checkpoint: str) -> Deployment:
        """See Loader. The first checkpoint on a backbone starts the engine."""
        loop = asyncio.get_running_loop()
        manifest, embedder = await loop.run_in_executor(_LOADING, self._read, store, checkpoint)
        folder = backbone(store.root, manifest.base_llm)
        host = self._hosts.get(manifest.base_llm)
        if host is None or host.idle or self._swap == "second":
            rank = rank_for(_ranks(store, manifest)) if self._swap == "beside" else 0
            arguments = (folder, _ends(folder, embedder), rank, self._arguments)
            host = Host(lambda: loop.run_in_executor(None, Vllm.start, *arguments))
            self._hosts[manifest.base_llm] = host
        view = await host.view(manifest.id, _pieces(store, manifest))
        return Deployment(manifest, embedder, view)

    def _read(self, store: Store, checkpoint: str) -> tuple[Checkpoint, Embedder]:
        manifest = store.load(checkpoint)
        refuse(store, manifest, "vLLM", "serve it with --engine transformers.")
        base = manifest.base_llm
        if base not in self._common:
            self._common[base] = common(store, base)
        return manifest, senses(store, manifest, self._common[base], self.features, RECENT)


def _pieces(store: Store, manifest: Checkpoint) -> Pieces:
    def digest(path: str) -> str:
        return " ".join(value for name, value in sorted(manifest.files.items()) if name.startswith(f"{path}/"))

    folder = store.folder(manifest.id)
    return tuple(Piece(folder / delta.path, delta.scale, digest(delta.path)) for delta in manifest.deltas)


def _ranks(store: Store, manifest: Checkpoint) -> list[int]:
    folder = store.folder(manifest.id)
    return [int(read_config(folder / delta.path)["r"]) for delta in manifest.deltas]


def _ends(folder: Path, embedder: Embedder) -> Collection[int]:
    """The tokens that end an answer, from wherever a backbone says so."""
    from transformers import AutoConfig, GenerationConfig

    try:
        said: Any = GenerationConfig.from_pretrained(folder, local_files_only=True)
    except OSError:  # the folder has none
        said = AutoConfig.from_pretrained(folder, local_files_only=True)
    return ids_of(said.eos_token_id, embedder.tokenizer.eos_token_id)
