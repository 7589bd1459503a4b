"""What the layout promises: imports point one way, and nothing above modalities/ names a modality."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from modalities.base import builtin

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("modalities", "serving", "eval", "extend")  # each may import those before it
PACKAGES = (*LAYERS, "ui")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# What MIME calls a kind of media (RFC 6838) is no modality's name: the chat shows files by their kind.
MEDIA_KINDS = {"audio", "image", "video"}
MODALITIES = MEDIA_KINDS | {"pointcloud"} | set(builtin())


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), path.name)


def imports(path: Path) -> set[str]:
    """The dotted names that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: imports are absolute"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def docstrings(module: ast.Module) -> set[ast.expr]:
    """The nodes of a file that are docstrings, those below an attribute included."""
    return {
        node.value
        for node in ast.walk(module)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }


def words(path: Path) -> Iterator[tuple[int, str]]:
    """Each word of a file's identifiers and strings with its line; `image_url` is image and url."""
    module = tree(path)
    skipped = docstrings(module)
    for node in ast.walk(module):
        if node in skipped:
            continue
        texts = [value for _, value in ast.iter_fields(node) if isinstance(value, str)]
        for text in texts:
            spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
            for word in re.split(r"[^a-z]+", spaced.lower()):
                yield getattr(node, "lineno", 0), word


@pytest.mark.parametrize("path", FILES, ids=name)
class TestEachFile:
    def test_imports_point_one_way(self, path: Path) -> None:
        package = path.relative_to(ROOT).parts[0]
        allowed = {package, *LAYERS[: LAYERS.index(package)]} if package in LAYERS else {package}
        ours = {module.split(".")[0] for module in imports(path)} & {*PACKAGES, "tests", "scripts"}
        assert ours <= allowed

    def test_only_its_engine_and_the_extension_of_its_worker_import_vllm(self, path: Path) -> None:
        if name(path) not in ("serving/vllm_engine.py", "serving/vllm_worker.py"):
            assert "vllm" not in {module.split(".")[0] for module in imports(path)}

    def test_no_modality_is_named_above_modalities(self, path: Path) -> None:
        package = path.relative_to(ROOT).parts[0]
        named = MODALITIES - MEDIA_KINDS if package == "ui" else MODALITIES
        if package != "modalities":
            assert [f"line {line}: {word}" for line, word in words(path) if word in named] == []

    def test_it_says_what_it_is(self, path: Path) -> None:
        assert ast.get_docstring(tree(path)), "a module begins with a docstring"

    def test_no_pickle(self, path: Path) -> None:
        refused = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
        assert not {module.split(".")[0] for module in imports(path)} & refused
        keywords = [ast.unparse(node) for node in ast.walk(tree(path)) if isinstance(node, ast.keyword)]
        assert "allow_pickle=True" not in keywords


def test_torch_load_converts_in_one_place_and_reads_weights_only() -> None:
    calls = [
        (name(path), ast.unparse(node))
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "torch.save")
    ]
    assert len(calls) <= 1, calls
    assert all(file.startswith("modalities/") and "weights_only=True" in call for file, call in calls), calls


def test_no_installed_distribution_takes_one_of_our_names() -> None:
    providers = packages_distributions()
    foreign = {package: set(providers.get(package, ())) - {"polymera"} for package in PACKAGES}
    assert not any(foreign.values()), foreign


def test_the_rules_see_what_they_forbid(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text('"""image"""\n\ndef show(video_url):\n    """speech"""\n    return f"pointcloud {ui.AudioClip}"\n')
    found = {word for _, word in words(path)}
    assert {"video", "pointcloud", "audio"} <= found
    assert not {"image", "speech"} & found
