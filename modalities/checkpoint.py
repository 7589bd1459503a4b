"""The checkpoint store: manifests, hashes, lineage, and writes that are whole or not there.

A checkpoint is a folder of JSON and safetensors. It knows neither training nor serving.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

MANIFEST = "checkpoint.json"
# Written beside, no part of the id.
EXTRAS = (
    "report.json",
    "report.md",
    "report.html",
    "golden.json",
    "overrides.json",
    "run.json",
    "loss.png",
    "predictions",
    "diagnosis.json",
)


class StoreError(ValueError):
    """Something in the store is missing, damaged or cannot be written. The message names the cure, no path."""


class Delta(BaseModel):
    """One learned stage of the LLM: a PEFT adapter folder and the scale with which it is folded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str  # "llm/01-image"
    scale: float


class Checkpoint(BaseModel):
    """checkpoint.json. The id is derived from everything else in it, the files' hashes included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    parent: str | None
    stage: int
    method: str
    modalities: tuple[str, ...]  # in learning order; a third party's by its dotted module name
    base_llm: str
    system: str | None  # the system message that the chat template gets; null: the template's own
    deltas: tuple[Delta, ...]
    encoders: dict[str, str]  # modality -> identity of the encoder it was trained with
    recipe: dict[str, Any]
    files: dict[str, str]  # relative path -> sha256


class Store:
    """A folder that holds checkpoints, experts, cached features, fetched assets and data."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoints = root / "checkpoints"
        self.experts = root / "experts"
        self.features = root / "features"
        self.assets = root / "assets"
        self.data = root / "data"
        self.work = root / "work"

    def ids(self) -> list[str]:
        """All checkpoints, oldest stage first."""
        return sorted(path.parent.name for path in self.checkpoints.glob(f"*/{MANIFEST}"))

    def folder(self, id: str) -> Path:
        """Where a checkpoint lies. Raises StoreError for an id that is not in the store."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", id) or not (self.checkpoints / id / MANIFEST).is_file():
            known = ", ".join(self.ids()) or "none yet; make one with: extend add-modality"
            raise StoreError(f"No checkpoint {id[:80]!r} in the store; it has: {known}")
        return self.checkpoints / id

    def manifest(self, id: str) -> Checkpoint:
        """A checkpoint's manifest, its files not yet checked."""
        try:
            checkpoint = Checkpoint.model_validate_json((self.folder(id) / MANIFEST).read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise StoreError(f"{id}: checkpoint.json is damaged ({where}: {first['msg']}); restore it.") from None
        if checkpoint.id != id or checkpoint.id != _identify(checkpoint):
            raise StoreError(f"{id}: checkpoint.json does not match its id; restore the checkpoint.")
        return checkpoint

    def load(self, id: str) -> Checkpoint:
        """A checkpoint whose every file has been read and hashed. Raises StoreError with the file's name."""
        checkpoint, folder = self.manifest(id), self.folder(id)
        for name, digest in checkpoint.files.items():
            path = folder / name
            if not path.is_file():
                raise StoreError(f"{id}: {name} is missing; restore the checkpoint.")
            if hash_file(path) != digest:
                raise StoreError(f"{id}: {name} is damaged (its sha256 differs); restore the checkpoint.")
        return checkpoint

    def lineage(self, id: str) -> list[Checkpoint]:
        """A checkpoint and its ancestors that are still here, oldest first."""
        chain = [self.manifest(id)]
        while chain[-1].parent in self.ids():
            chain.append(self.manifest(str(chain[-1].parent)))
        return chain[::-1]

    def live(self) -> str | None:
        """The id that `store/live` points to, or None."""
        link = self.root / "live"
        return Path(os.readlink(link)).name if link.is_symlink() and (link / MANIFEST).is_file() else None

    def set_live(self, id: str) -> None:
        """Point `store/live` to a checkpoint, by one atomic rename."""
        self.folder(id)
        aside = self.root / f".live.{os.getpid()}"
        with _room():
            aside.unlink(missing_ok=True)
            aside.symlink_to(Path("checkpoints") / id)
            aside.rename(self.root / "live")

    def publish(self, files: Mapping[str, Path], **fields: Any) -> Checkpoint:
        """Write a checkpoint: `files` (relative path -> source, hard-linked where possible) and its manifest.

        Nothing is visible before everything is on disk. The same content gives the same id, and is kept once.
        """
        digests = {name: hash_file(path) for name, path in sorted(files.items())}
        draft = Checkpoint(id="", files=digests, **fields)
        checkpoint = draft.model_copy(update={"id": _identify(draft)})
        with aside(self.checkpoints / checkpoint.id) as folder:
            for name, source in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                _link(source, folder / name)
            (folder / MANIFEST).write_text(checkpoint.model_dump_json(indent=1) + "\n")
        return checkpoint

    def write_json(self, path: Path, value: object) -> None:
        """A JSON file, whole or not at all."""
        write(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


@contextmanager
def aside(target: Path) -> Iterator[Path]:
    """A folder to fill; it becomes `target` by one rename at the end, or vanishes. An existing target stays."""
    with _room():
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            yield folder
            for path in folder.rglob("*"):
                _sync(path)
            _sync(folder)
            folder.chmod(0o755)
            if not target.exists():
                folder.rename(target)
                _sync(target.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def write(path: Path, data: bytes) -> None:
    """A file, whole or not at all: written aside, fsynced, renamed."""
    with _room():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(data)
            _sync(temporary)
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """sha256 of a file, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _identify(checkpoint: Checkpoint) -> str:
    content = json.dumps(checkpoint.model_dump(mode="json", exclude={"id"}), sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    newest = checkpoint.modalities[-1].rpartition(".")[2]
    return f"{checkpoint.stage:04d}-{newest}-{checkpoint.method}-{digest}"


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        shutil.copyfile(source, target)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _room() -> Iterator[None]:
    """Says in one line that the disk is full; everything half-written is removed by the caller."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError("No disk space left for the store; free some and run the same command again.") from None
        raise
