"""What stands behind the Makefile's verbs: the set-up, the Debian packages, the start of API and chat."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from modalities.checkpoint import Store

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
Run = subprocess.CompletedProcess[str]

# A project that needs nothing, not even a build tool; its one module stands for torch, whose import ends a set-up.
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
BACKEND = """
from pathlib import Path
from zipfile import ZipFile

def build_editable(wheels, settings=None, metadata=None):
    name = "tiny-1-py3-none-any.whl"
    with ZipFile(Path(wheels) / name, "w") as wheel:
        wheel.writestr("tiny.pth", str(Path.cwd()))
        wheel.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n")
        wheel.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("tiny-1.dist-info/RECORD", "")
    return name
"""


def setup(tree: Path, python: str = sys.executable) -> Run:
    """Run setup.sh in a tree, without any package index."""
    environment = os.environ | {"PYTHON": python, "PIP_NO_INDEX": "1"}
    return subprocess.run([tree / "scripts/setup.sh"], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny project, set up."""
    root = tmp_path_factory.mktemp("tree")
    (root / "scripts").mkdir()
    shutil.copy(SCRIPTS / "setup.sh", root / "scripts")
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "backend.py").write_text(BACKEND)
    (root / "requirements.lock").write_text("# nothing\n")
    (root / "torch.py").touch()
    done = setup(root)
    assert done.returncode == 0, done.stderr
    return root


def test_a_second_setup_does_nothing_and_is_quick(tree: Path) -> None:
    begin = time.monotonic()
    again = setup(tree)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert time.monotonic() - begin < 2


def test_a_changed_lock_is_installed_into_the_same_venv(tree: Path) -> None:
    (tree / ".venv/kept").touch()
    (tree / "requirements.lock").write_text("# nothing, said otherwise\n")
    assert setup(tree).stderr == "Bringing .venv up to date.\n"
    assert (tree / ".venv/kept").exists()
    assert setup(tree).stderr == ""


def stand_in(folder: Path, body: str) -> str:
    """A program that PYTHON may name."""
    program = folder / "python3"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return str(program)


def test_an_old_python_is_refused_in_one_line(tree: Path, tmp_path: Path) -> None:
    (tree / "requirements.lock").write_text("# and again\n")
    refused = setup(tree, stand_in(tmp_path, "exit 1"))
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "Python 3.11 or newer" in refused.stderr


def test_a_setup_that_fails_says_why_leaves_no_stamp_and_starts_anew(tree: Path, tmp_path: Path) -> None:
    (tree / "torch.py").write_text("raise ImportError('libcudart.so.13')\n")
    (tree / "requirements.lock").write_text("# once more\n")
    failed = setup(tree)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("make: pip found torch's CUDA build; point PIP_EXTRA_INDEX_URL")
    assert (tree / ".venv").exists()
    assert not (tree / ".venv/stamp").exists()
    assert setup(tree, stand_in(tmp_path, 'test "$2" != venv')).returncode != 0  # a Python that ends where venv begins
    assert not (tree / ".venv").exists()


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    """A PATH with curl, a sudo that just runs, and an apt-get that writes down what it was asked."""
    for command in ("bash", "env"):
        (tmp_path / command).symlink_to(str(shutil.which(command)))
    scripts = {"curl": "", "sudo": 'exec "$@"', "apt-get": f'echo "$*" >> {tmp_path}/asked'}
    for command, body in scripts.items():
        (tmp_path / command).write_text(f"#!{tmp_path}/bash\n{body}\n")
        (tmp_path / command).chmod(0o755)
    return tmp_path


def install(path: Path, *commands: str) -> Run:
    """Run debian.sh with nothing but `path` on the PATH."""
    command = [str(path / "bash"), str(SCRIPTS / "debian.sh"), *commands]
    return subprocess.run(command, env={"PATH": str(path)}, capture_output=True, text=True, check=False)


def test_only_missing_debian_packages_are_installed_and_named(debian: Path) -> None:
    done = install(debian, "curl", "java")
    assert done.returncode == 0, done.stderr
    assert "Installing Debian packages: default-jre-headless" in done.stderr
    assert (debian / "asked").read_text().split()[-1:] == ["default-jre-headless"]
    assert "curl" not in (debian / "asked").read_text()


def test_nothing_is_asked_of_apt_when_nothing_is_missing(debian: Path) -> None:
    assert install(debian, "curl").stderr == ""
    assert not (debian / "asked").exists()


def test_without_apt_the_missing_packages_are_named(debian: Path) -> None:
    (debian / "apt-get").unlink()
    refused = install(debian, "curl", "chromium")
    assert refused.returncode == 1
    assert "please install chromium" in refused.stderr


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def serve(pico_store: Store) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """scripts/serve.py over the pico model, with the ports of its API and its chat."""
    api, chat = free_port(), free_port()
    command = [sys.executable, str(SCRIPTS / "serve.py"), "--port", str(api), "--ui-port", str(chat)]
    environment = os.environ | {"POLYMERA_STORE": str(pico_store.root), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, cwd=SCRIPTS.parent, stderr=subprocess.PIPE, text=True) as program:
        yield program, api, chat
        program.terminate()


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def read_until(program: subprocess.Popen[str], text: str) -> str:
    """Standard error up to the line that holds `text`."""
    assert program.stderr is not None
    seen = ""
    for line in program.stderr:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"ended without {text!r}:\n{seen}")


def test_api_and_chat_start_together_and_end_together(serve: tuple[subprocess.Popen[str], int, int]) -> None:
    program, api, chat = serve
    welcome = read_until(program, "Ctrl-C ends both.")
    assert f"Chat  http://127.0.0.1:{chat}" in welcome
    assert f"API   http://127.0.0.1:{api}" in welcome
    with urllib.request.urlopen(f"http://127.0.0.1:{api}/modalities") as answer:
        assert b"tone" in answer.read()
    both = children(program.pid)
    assert len(both) == 2
    program.send_signal(signal.SIGINT)
    assert program.wait(30) == 0
    assert not [pid for pid in both if Path(f"/proc/{pid}").exists()]


def test_many_signals_at_once_end_both_as_one_does(serve: tuple[subprocess.Popen[str], int, int]) -> None:
    program, _, _ = serve
    while len(both := children(program.pid)) < 2:
        time.sleep(0.05)
    for number in range(200):
        program.send_signal((signal.SIGTERM, signal.SIGINT)[number % 2])
    assert program.wait(60) == 0
    assert not [pid for pid in both if Path(f"/proc/{pid}").exists()]


def test_when_one_ends_so_does_the_other(serve: tuple[subprocess.Popen[str], int, int]) -> None:
    program, _, _ = serve
    while len(both := children(program.pid)) < 2:
        time.sleep(0.05)
    os.kill(both[0], signal.SIGKILL)
    read_until(program, "The API ended with exit code -9; so does the rest.")
    assert program.wait(30) != 0
    assert not [pid for pid in both if Path(f"/proc/{pid}").exists()]
