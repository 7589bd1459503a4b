"""Third-party packages, fetched once and pinned, and whatever is built from them: all or nothing.

A package comes through its registry's ordinary client, or from a local file that the user names; its hash is
checked either way. Everything appears in the store under its final name in one rename, or not at all. Which registry
that is, the machine's own settings say (pip's, npm's, apt's); no address stands here.
This file knows no modality and no model: what is pinned stands in packages.py.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from modalities.archives import Kind, unpack


class AssetError(RuntimeError):
    """Something could not be fetched or built. The message names the cure and holds no path."""


@dataclass(frozen=True)
class Package:
    """One pinned archive of a package registry."""

    name: str
    kind: Kind
    version: str
    file: str  # as the client saves it
    sha256: str
    licence: str
    origin: str  # what it holds and who made it
    size: int = 0  # bytes, for the progress bar only; 0: not known

    @property
    def key(self) -> str:
        """The name as one word: `@iconify-json/noto` is `iconify-json-noto`."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.name).strip("-")

    @property
    def override(self) -> str:
        """The environment variable that may name a local copy of `file`."""
        return "POLYMERA_ASSET_" + re.sub(r"[^A-Z0-9]", "_", self.key.upper())

    @property
    def commands(self) -> list[list[str]]:
        """The client's commands, in turn, that save `file` in the working folder; there is a folder tmp in it."""
        if self.kind == "npm":
            return [["npm", "pack", "--silent", "--ignore-scripts", "--cache=tmp", f"{self.name}@{self.version}"]]
        if self.kind == "deb":  # with lists of its own: apt's are root's, and a small machine has none
            folders = ["mkdir", "-p", "tmp/lists/partial", "tmp/cache/archives/partial"]
            settings = ["Dir::State::Lists=./tmp/lists", "Dir::Cache=./tmp/cache", "APT::Sandbox::User=root"]
            apt = ["apt-get", "-q", *(f"-o{one}" for one in settings)]
            return [folders, [*apt, "update"], [*apt, "download", f"{self.name}={self.version}"]]
        quiet = ["-q", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]
        wanted = ["--no-deps", "--only-binary", ":all:", f"{self.name}=={self.version}"]
        return [[sys.executable, "-m", "pip", "download", *quiet, *wanted]]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def fetch(store: Path, package: Package) -> Path:
    """The folder with the package's files; fetched, verified and unpacked when it is not there yet."""

    def make(aside: Path) -> None:
        with tempfile.TemporaryDirectory(dir=aside.parent, prefix=_partial(aside.name)) as folder:
            archive = _local(package) or _download(package, Path(folder))
            _verify(package, archive)
            unpack(package.kind, archive, aside)

    return build(store, f"{package.key}-{package.version.replace(':', '.')}", make)


def build(store: Path, name: str, make: Callable[[Path], None], *, kind: Literal["assets", "data"] = "assets") -> Path:
    """The folder store/<kind>/<name>, filled by make(folder) when it is not there yet.

    It is made aside, flushed to disk and renamed: a broken or killed build leaves nothing under the name, and of
    two processes that want it at once the second waits for the first. The name must hold a version.
    """
    parent = store / kind
    target = parent / name
    if target.is_dir():
        return target
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _locked(parent / f".{name}.lock", name):
            if not target.is_dir():
                for remains in parent.glob(f"{_partial(name)}*"):  # of a killed build
                    shutil.rmtree(remains, ignore_errors=True)
                with tempfile.TemporaryDirectory(dir=parent, prefix=_partial(name)) as folder:
                    aside = Path(folder, name)
                    aside.mkdir()
                    make(aside)
                    _flush(aside)
                    aside.rename(target)
                    _flush(parent, deep=False)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        reason = (error.strerror or "").lower()
        cure = "free some space or choose another --store."
        raise AssetError(f"{name} could not be stored ({reason}); {cure}") from error
    return target


def _partial(name: str) -> str:
    return f".{name}.partial-"


@contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    """Hold a lock that dies with the process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tqdm.write(f"{name}: another process is making it; waiting", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _flush(folder: Path, *, deep: bool = True) -> None:
    """Bring a folder's entries (and all that lies under them) to disk before anything points at them."""
    for path in [folder, *(folder.rglob("*") if deep else ())]:
        if path.is_symlink():
            continue
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _local(package: Package) -> Path | None:
    """The copy that the user names instead of the network, if any."""
    given = os.environ.get(package.override)
    if not given:
        return None
    if not Path(given).is_file():
        raise AssetError(f"{package.override} names no file; let it name {package.file}, or unset it.")
    return Path(given)


def _download(package: Package, folder: Path) -> Path:
    """Run the registry's client in the folder, with a bar that follows what it has written so far."""
    cure = f"check the network, or set {package.override} to a local copy of {package.file}."
    (folder / "tmp").mkdir()  # where the clients write until they are done
    environment = os.environ | {"TMPDIR": str(folder / "tmp")}
    log = folder / "client.log"
    with tqdm(desc=f"fetching {package}", total=package.size or None, unit="B", unit_scale=True, delay=0.5) as bar:
        for command in package.commands:
            try:
                done = _run(command, folder, environment, log, bar)
            except FileNotFoundError as error:
                raise AssetError(f"{package} needs the program {command[0]}; install it, or {cure}") from error
            if done:
                break
        bar.update((bar.total or bar.n) - bar.n)
    archive = folder / package.file
    if done or not archive.is_file():
        raise AssetError(f"{package} could not be fetched{_complaint(log)}; {cure}")
    return archive


def _run(command: list[str], folder: Path, environment: dict[str, str], log: Path, bar: Any) -> int:
    """The client's exit status; meanwhile the bar follows what it writes."""
    with log.open("a") as output:
        client = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        while (status := _poll(client)) is None:
            bar.update(max(0, min(_bytes_under(folder), bar.total or sys.maxsize) - bar.n))
        return status
    finally:
        client.kill()
        client.wait()


def _poll(client: subprocess.Popen[bytes]) -> int | None:
    try:
        return client.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return None


def _bytes_under(folder: Path) -> int:
    """What the client has written; its files come and go meanwhile."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _complaint(log: Path) -> str:
    """The client's last error line that names no path and no address."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    errors = [line for line in lines if re.match(r"(npm )?(error|ERR!)|E: ", line, re.I) and "/" not in line]
    return f" ({errors[-1]})" if errors else ""


def _verify(package: Package, archive: Path) -> None:
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != package.sha256:
        raise AssetError(
            f"{package}: {package.file} has sha256 {digest[:12]}…, pinned is {package.sha256[:12]}…; "
            f"set {package.override} to the pinned file."
        )
