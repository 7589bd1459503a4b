"""Who may do what, and what the store is told to hold."""

import os
import stat
from collections.abc import Iterator

import pytest

from modalities.checkpoint import MANIFEST, Store, StoreError
from serving.admin import admin_token
from tests import pico
from tests.serving.running import Running, serve, text
from tests.serving.test_clearance import judged


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = pico.store(tmp_path_factory.mktemp("store"))
    second = pico.checkpoint(made, 2).id
    judged(made, second)
    third = pico.checkpoint(made, 3).id
    (made.folder(third) / "report.json").write_text("[]")
    fourth = pico.checkpoint(made, 4).id
    (made.folder(fourth) / MANIFEST).write_text("{}")
    return made


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[Running]:
    with serve(store, store.live(), api_keys=["alpha", "beta"]) as running:
        yield running


ROUTES = [("POST", "/admin/deploy"), ("POST", "/admin/rollback"), ("GET", "/admin/checkpoints")]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("shown", [None, "Bearer wrong", "Basic {token}", "{token}", "Bearer alpha", "Bearer ü"])
def test_without_the_admin_token_there_is_no_administration(
    server: Running, method: str, path: str, shown: str | None
) -> None:
    token = server.admin["Authorization"].removeprefix("Bearer ")
    headers = {} if shown is None else {b"Authorization": shown.format(token=token).encode()}
    answer = server.http.request(method, path, headers=headers, content=b"{")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "admin token" in answer.json()["error"]["message"]
    assert str(server.live.id) == answer.headers["x-checkpoint"]


@pytest.mark.parametrize("path", ["/generate", "/modalities"])
def test_with_api_keys_users_must_show_one(server: Running, path: str) -> None:
    method = "POST" if path == "/generate" else "GET"
    body = {"prompt": [text()], "max_tokens": 1}
    for key, status in ((None, 401), ("gamma", 401), ("alpha", 200), ("beta", 200)):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        answer = server.http.request(method, path, headers=headers, json=body)
        assert answer.status_code == status
    assert server.http.get("/healthz").status_code == server.http.get("/readyz").status_code == 200


def test_an_unknown_id_is_refused_with_what_there_is(server: Running, store: Store) -> None:
    for odd in ("0007-none", "../" + store.ids()[1], "/etc", "live"):
        answer = server.deploy(odd)
        assert answer.status_code == 404
        assert store.ids()[1] in answer.json()["error"]["message"]
    for body in (b"", b'{"checkpoint": ""}', b'{"checkpoint": 3}', b'{"path": "x"}'):
        assert server.http.post("/admin/deploy", content=body, headers=server.admin).status_code == 422
    big = server.http.post("/admin/deploy", content=b" " * 20_000, headers=server.admin)
    assert big.status_code == 413


def test_the_list_shows_every_checkpoint_and_which_is_damaged(server: Running, store: Store) -> None:
    listed = server.http.get("/admin/checkpoints", headers=server.admin).json()["checkpoints"]
    first, second, third, fourth = listed
    assert [one["id"] for one in listed] == store.ids()
    assert [one["live"] for one in listed] == [one["resident"] for one in listed] == [True, False, False, False]
    assert (first["stage"], first["method"], first["modalities"]) == (1, "mera", ["tests.toy.tone"])
    assert (second["verdict"], third["verdict"], first["verdict"]) == ("GO", None, None)
    assert "checkpoint.json is damaged" in fourth["damaged"]
    assert first["damaged"] is None


def test_the_token_is_made_once_and_only_its_owner_reads_it(pico_store: Store) -> None:
    mask = os.umask(0)
    try:
        token = admin_token(pico_store.root)
    finally:
        os.umask(mask)
    path = pico_store.root / "admin-token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) >= 32
    assert admin_token(pico_store.root) == token


def test_an_empty_token_opens_nothing(pico_store: Store) -> None:
    (pico_store.root / "admin-token").write_text("\n")
    with pytest.raises(StoreError, match="delete that file"):
        admin_token(pico_store.root)


def test_the_environments_token_goes_first_and_leaves_no_file(
    pico_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYMERA_ADMIN_TOKEN", "from-outside")
    assert admin_token(pico_store.root) == "from-outside"
    assert not (pico_store.root / "admin-token").exists()
