"""Published weights: found, converted once, and put into a module without a key missing or left over.

A `.pt` is read by PyTorch's restricted unpickler, which builds tensors and plain values and runs nothing, and is
kept as safetensors from then on. This file knows no network: which keys a checkpoint has is told by its callers.
"""

import argparse
import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modalities.assets import AssetError, build
from modalities.checkpoint import hash_file

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
PICKLE = "pytorch_model.bin"
WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]  # of a hub repository


def unpickled(path: Path) -> Any:
    """What a `.pt` holds: tensors, plain values, a script's options (a Namespace). Raises AssetError for all else."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what cannot be read is refused, whatever it warns of first
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # readers of broken files raise anything
        reason = "holds more than weights" if "global" in str(error).lower() else "is damaged or no PyTorch file"
        raise AssetError(f"{path.name} {reason}; fetch it again, or give its weights as .safetensors.") from None


def locate(store: Path, source: str, revision: str | None = None) -> Path:
    """The file or folder behind a name: in store/assets, on this disk, or a hub id such as `openai/clip-…`.

    A folder that holds only a pickle is converted once. Raises AssetError, which says what was looked for.
    """
    for path in (store / "assets" / source, Path(source).expanduser()):
        if path.exists() and source:
            return safe(store, path)
    if source.count("/") != 1 or source.startswith((".", "/", "~")) or Path(source).suffix in SUFFIXES:
        raise AssetError(f"There is no {Path(source).name!r} in the store's assets; put it there, or name a hub id.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(source, revision=revision, allow_patterns=WANTED))
        if not any(folder.glob("*.safetensors")):
            snapshot_download(source, revision=revision, allow_patterns=[PICKLE])
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        at = f" at revision {revision}" if revision else ""
        raise AssetError(
            f"{source!r}{at} is neither in the store's assets nor could it be fetched ({type(error).__name__}); "
            "check the name and the network, or put its folder into store/assets."
        ) from None
    return safe(store, folder)


def safe(store: Path, path: Path) -> Path:
    """The same folder with its weights as safetensors: itself, or one in the store that was made of it."""
    pickled = path / PICKLE
    if path.is_file() or any(path.glob("*.safetensors")) or not pickled.is_file():
        return path

    def make(folder: Path) -> None:
        weights = {name: value.clone().contiguous() for name, value in unpickled(pickled).items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        for file in path.iterdir():
            if file.suffix in (".json", ".txt", ".model", ".jinja"):
                shutil.copyfile(file, folder / file.name)

    return build(store, f"{path.name}-{hash_file(pickled)[:12]}", make)


Split = Callable[[Any], tuple[Mapping[str, Tensor], dict[str, Any]]]


@dataclass(frozen=True)
class Published:
    """What a published file holds, wherever it came from."""

    weights: dict[str, Tensor]
    config: dict[str, Any]
    digest: str  # sha256 of the published file


def published(store: Path, source: str, split: Split) -> Published:
    """A published file; a `.pt` is converted when first seen. Raises AssetError.

    `split(content)` parts what a `.pt` holds into its weights and what else is kept beside them, as config.json.
    """
    file = locate(store, source)
    digest = hash_file(file)

    def make(folder: Path) -> None:
        weights, config = split(unpickled(file))
        save_file({name: value.contiguous().clone() for name, value in weights.items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    if file.suffix in SUFFIXES:
        file = build(store, f"{file.stem}-{digest[:12]}", make) / "model.safetensors"
    config = file.parent / "config.json"
    return Published(tensors(file), json.loads(config.read_text()) if config.is_file() else {}, digest)


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a folder that holds one or several. Raises AssetError."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise AssetError(f"{path.name} holds no .safetensors file; fetch it whole, or convert it.")
    found: dict[str, Tensor] = {}
    for file in files:
        try:
            found |= load_file(file)
        except (SafetensorError, OSError):
            raise AssetError(f"{file.name} is damaged; fetch it again.") from None
    return found


def fill(module: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Load weights under the module's own names; one missing, left over or of another shape is an error with its name.

    Raises AssetError.
    """
    compare(module.state_dict(), weights, what)
    module.load_state_dict(dict(weights))


def compare(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], what: str) -> None:
    """The same names and shapes, or AssetError that names the first that differs."""
    for complaint, names in (
        ("lacks", wanted.keys() - found.keys()),
        ("has what this network does not:", found.keys() - wanted.keys()),
    ):
        if names:
            first, more = sorted(names)[0], f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise AssetError(f"{what} {complaint} {first}{more}; use the published weights of this very network.")
    for name, value in wanted.items():
        here, there = tuple(value.shape), tuple(found[name].shape)
        if here != there:
            raise AssetError(f"{what}: {name} has shape {there}, here it is {here}; use the published weights.")


def best_device() -> torch.device:
    """Where frozen encoders run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
