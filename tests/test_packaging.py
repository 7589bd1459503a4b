"""What holds the tree together: pyproject.toml, the lock, the changelog, the README and .ci/run tell one story."""

import ast
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from docs.media.render import png
from scripts import lock

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("modalities", "serving", "extend", "eval", "ui")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
README = (ROOT / "README.md").read_text()
PINS = dict(line.split("==") for line in lock.LOCK.read_text().splitlines() if not line.startswith("#"))


def installed(names: list[str]) -> dict[str, dict[str, object]]:
    """What .venv really holds, in the form in which pip reports it."""
    found = {name: distribution(name) for name in names}
    return {name: {"version": dist.version, "requires_dist": dist.requires or []} for name, dist in found.items()}


def third_party_imports() -> set[str]:
    """The top-level names that the tree imports and that are neither Python's nor ours."""
    found = set()
    for path in [path for folder in (*PACKAGES, "tests", "scripts", "docs") for path in (ROOT / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {*PACKAGES, "tests", "scripts", "docs"}


def test_the_version_is_the_changelogs_newest() -> None:
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == PYPROJECT["project"]["version"]


def test_every_import_comes_from_the_lock() -> None:
    providers = packages_distributions()
    unlocked = {
        name
        for name in third_party_imports() - {"vllm"}  # the one optional engine; scripts/lock.py keeps room for it
        if not {canonicalize_name(provider) for provider in providers.get(name, ())} & PINS.keys()
    }
    assert not unlocked


def test_the_lock_is_what_runs_here() -> None:
    here = {name: Version(str(metadata["version"])).public for name, metadata in installed([*PINS]).items()}
    assert here == PINS


def test_the_lock_holds_all_that_its_packages_need_and_nothing_else() -> None:
    assert lock.closure(lock.roots(ROOT / "pyproject.toml"), installed([*PINS])) == PINS


def test_vllms_lock_moves_no_pin_and_knows_each_wheel_by_its_hash() -> None:
    lines = [line for line in lock.VLLM_LOCK.read_text().splitlines() if not line.startswith("#")]
    pins = [re.fullmatch(r"([a-z0-9-]+)==(\S+) --hash=sha256:[0-9a-f]{64}", line) for line in lines]
    assert all(pins), "pip asks for a hash of every package, or of none."
    assert not {pin[1] for pin in pins if pin} & PINS.keys()
    assert {f"{pin[1]}=={pin[2]}" for pin in pins if pin} >= {*lock.VLLM}


def test_the_lock_builds_polymera_itself() -> None:
    for text in PYPROJECT["build-system"]["requires"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(PINS[requirement.name])


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_beside_the_code_is_package_data(package: str) -> None:
    patterns = ["*.py", *PYPROJECT["tool"]["setuptools"]["package-data"]["*"]]
    files = [path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert [path.name for path in files if not any(fnmatch(path.name, pattern) for pattern in patterns)] == []


def test_ci_runs_the_readmes_commands() -> None:
    """Every `make` line of the README and each line of a block with `curl` stands in .ci/run as it is."""
    ci = (ROOT / ".ci/run").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    commands = [
        line.split("  #")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if line.startswith("make ") or "curl" in block
    ]
    assert any("curl" in command for command in commands)
    assert [command for command in commands if command not in ci] == []


def test_what_the_readme_links_to_is_there() -> None:
    named = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README) + re.findall(r"^\| `([a-z]+/)`", README, re.MULTILINE)
    assert {f"{package}/" for package in PACKAGES} <= set(named)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_make_explains_each_verb() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    explained = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"^make (\w+) +\S", explained, re.MULTILINE)) == set(phony[1].split())


def test_the_readmes_picture_is_our_own_drawing() -> None:
    assert (ROOT / "docs/media/apple.png").read_bytes() == png(ROOT / "docs/media/apple.svg")
