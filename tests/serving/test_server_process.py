"""python -m serving as a user starts it."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from modalities.checkpoint import Store
from serving.__main__ import main
from tests import pico
from tests.serving.running import until

ROOT = Path(__file__).parent.parent.parent


def test_it_answers_at_once_says_when_it_is_ready_and_stops_after_the_last_answer(
    pico_store: Store, tmp_path: Path
) -> None:
    newest = pico.checkpoint(pico_store, 2).id
    (pico_store.root / "live").unlink()
    (tmp_path / "keys").write_text("alpha\n\n")
    command = [sys.executable, "-W", "error", "-m", "serving", "--engine", "transformers"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command += ["--store", str(pico_store.root), "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--api-keys", str(tmp_path / "keys")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
            until(lambda: answers(http), 120)
            waiting = http.get("/readyz")
            if waiting.status_code == 503:  # it may be that quick
                assert waiting.json()["error"]["type"] == "not_ready"
            assert process.stdout is not None
            assert process.stdout.readline() == f"ready: {newest} (text, tone) on http://127.0.0.1:{port}\n"
            assert http.get("/readyz").json() == {"checkpoint": newest}
            assert pico_store.live() == newest, "What is served by default is live from now on."
            assert http.get("/modalities").status_code == 401
            body = {"prompt": [{"text": "What do you hear?"}], "max_tokens": 300, "stream": True}
            key = {"Authorization": "Bearer alpha"}
            with http.stream("POST", "/generate", json=body, headers=key) as answer:
                lines = answer.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                last = [line for line in lines if line][-1]
            assert json.loads(last.removeprefix("data: "))["done"]["usage"]["completion_tokens"] == 300
        assert process.wait(30) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.communicate()


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").status_code == 200
    except httpx.ConnectError:
        return False


def fails(capsys: pytest.CaptureFixture[str], *options: object) -> str:
    """Exit code 2 and one line."""
    assert main([str(option) for option in options]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "extend add-modality NAME" in fails(capsys, "--store", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_wrong_use_is_one_line_that_says_what_to_change(
    pico_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store", pico_store.root)
    assert pico_store.ids()[0] in fails(capsys, *store, "--checkpoint", "0009-none")
    assert "--port" in fails(capsys, *store, "--port", 70000)
    assert "--port" in fails(capsys, *store, "--host", "203.0.113.77", "--port", 0)
    assert "cannot be read" in fails(capsys, *store, "--api-keys", tmp_path / "none")
    (tmp_path / "keys").write_text("\n \n")
    assert "holds no key" in fails(capsys, *store, "--api-keys", tmp_path / "keys")
    assert "no policy file 'none.toml'" in fails(capsys, *store, "--policy", tmp_path / "none.toml")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}; stop what uses it" in fails(capsys, *store, "--port", port)


def test_a_checkpoint_that_cannot_be_loaded_ends_the_server_with_the_reason(
    pico_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pico_store.folder(pico_store.ids()[0]) / "connectors" / "tone.safetensors"
    path.write_bytes(b"")
    assert "tone.safetensors is damaged" in fails(capsys, "--store", pico_store.root, "--port", 0)


def test_an_engine_that_is_not_here_is_not_offered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--engine", "steam"])
    assert stopped.value.code == 2
    assert "transformers" in capsys.readouterr().err
