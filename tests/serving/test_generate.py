"""POST /generate and GET /modalities on a real server."""

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modalities.checkpoint import Store
from tests import pico
from tests.serving.running import Running, events, serve, text, tone, until


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return pico.store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[Running]:
    with serve(store, store.live()) as running:
        yield running


def test_an_answer_names_its_checkpoint_and_its_cost(server: Running, store: Store) -> None:
    answer = server.ask(tone(), text(), max_tokens=9)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"text", "finish_reason", "checkpoint", "usage"}
    assert body["checkpoint"] == answer.headers["x-checkpoint"] == store.live()
    assert body["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 9
    assert body["usage"]["media_tokens"] == {"tone": 4}
    assert body["usage"]["prompt_tokens"] > 4


def test_a_stream_says_the_same_piece_by_piece(server: Running) -> None:
    whole = server.ask(tone(), text(), max_tokens=30).json()
    answer = server.ask(tone(), text(), max_tokens=30, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-checkpoint"] == whole["checkpoint"]
    *pieces, last = events(answer.text)
    assert "".join(piece["token"] for piece in pieces) == whole.pop("text")
    assert len(pieces) > 10
    assert last == {"done": whole}


def test_a_stream_arrives_while_it_is_made(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    read, step = threading.Event(), server.engine._step
    held: list[bool] = []

    def wait(joining: list[Any]) -> None:
        if not joining:  # from the second token on, the engine waits until the first one was read
            held.append(read.wait(60))
        step(joining)

    monkeypatch.setattr(server.engine, "_step", wait)
    body = {"prompt": [text()], "max_tokens": 20, "stream": True}
    with server.http.stream("POST", "/generate", json=body) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines).removeprefix("data: "))["token"]
        assert server.engine.running == 1, "The answer is still being made."
        read.set()
        assert "done" in [line for line in lines if line][-1]
    assert all(held)


def test_a_data_uri_is_the_same_as_base64(server: Running) -> None:
    part = {"tone": "data:application/x-tone;base64," + tone()["tone"]}
    assert server.ask(part, text()).json() == server.ask(tone(), text()).json()


def test_the_seed_decides_a_warm_answer(server: Running) -> None:
    texts = [server.ask(text(), temperature=1.5, seed=seed).json()["text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_stop_string_ends_an_answer(server: Running) -> None:
    whole = server.ask(tone(), text(), max_tokens=40).json()["text"]
    answer = server.ask(tone(), text(), max_tokens=40, stop=[whole[12:15]]).json()
    assert answer["text"] == whole[: whole.index(whole[12:15])]
    assert answer["finish_reason"] == "stop"


def test_many_at_once_get_what_each_would_get_alone(server: Running) -> None:
    def ask(seed: int) -> str:
        answer: str = server.ask(tone(seed), text("Describe this." * (seed % 4)), max_tokens=25).json()["text"]
        return answer

    alone = [ask(seed) for seed in range(24)]
    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(ask, range(24))) == alone


def test_the_event_loop_answers_while_everybody_generates(server: Running) -> None:
    with ThreadPoolExecutor(24) as pool:
        jobs = [pool.submit(server.ask, tone(seed), text(), max_tokens=300) for seed in range(24)]
        until(lambda: server.engine.running > 10)
        answers = 0
        while not all(job.done() for job in jobs):
            assert server.http.get("/healthz").json() == {"alive": True}
            answers += 1
        assert all(job.result().status_code == 200 for job in jobs)
    assert answers > 10, "It answers between the steps, not after them."


def test_the_event_loop_answers_while_an_encoder_works(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = server.live.current.embedder.encoder("tone")
    entered, release = threading.Event(), threading.Event()
    forward = encoder.forward

    def slow(media: Any) -> Any:
        entered.set()
        release.wait(30)
        return forward(media)

    monkeypatch.setattr(encoder, "forward", slow)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(server.ask, tone(12345), text(), max_tokens=2)
        assert entered.wait(30)
        assert server.http.get("/healthz").status_code == 200
        assert server.ask(text(), max_tokens=2).status_code == 200, "Text does not wait for the encoder."
        release.set()
        assert job.result().status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place(server: Running, stream: bool) -> None:
    body = json.dumps({"prompt": [text()], "max_tokens": 490, "stream": stream}).encode()
    head = f"POST /generate HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as client:
        client.sendall(head.encode() + body)
        until(lambda: server.engine.running == 1)
        request = server.engine._running[0]
    until(lambda: server.engine.running == 0)
    assert request.tokens < 400, "It did not go on to its end."


def test_too_many_at_once_are_told_to_come_again_and_places_come_back(store: Store) -> None:
    with serve(store, store.live(), in_flight=1) as server:
        for _ in range(2):
            body = {"prompt": [text()], "max_tokens": 480, "stream": True}
            with server.http.stream("POST", "/generate", json=body) as answer:
                lines = answer.iter_lines()  # dropped at once, it would hang up
                next(lines)
                refused = server.ask(text())
                assert refused.status_code == 429
                assert refused.headers["retry-after"] == "1"
                assert refused.json()["error"]["type"] == "busy"
            until(lambda: server.engine.running == 0)
            until(lambda: server.ask(text(), max_tokens=1).status_code == 200, 5)


def test_modalities_tells_what_the_live_checkpoint_learned(server: Running, store: Store) -> None:
    told = {"name": "tone", "media_types": ["application/x-tone"], "suffixes": [".tone"], "max_bytes": 64000}
    assert server.http.get("/modalities").json() == {"checkpoint": store.live(), "modalities": [told]}


def encoded(data: bytes) -> dict[str, str]:
    return {"tone": base64.b64encode(data).decode()}


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("unknown key", {"prompt": [{"smell": "AAAA"}]}, 422, r"has not learned 'smell'; it knows text, tone"),
    ("two keys", {"prompt": [{"text": "a", "tone": "AAAA"}]}, 422, "prompt.0: .* at most 1"),
    ("no key", {"prompt": [{}]}, 422, "prompt.0: .* at least 1"),
    ("broken base64", {"prompt": [{"tone": "AA*A"}]}, 422, "not base64"),
    ("no padding", {"prompt": [{"tone": "AAA"}]}, 422, "not base64"),
    ("odd data URI", {"prompt": [{"tone": "data:audio/x,AAAA"}]}, 422, "data: URI"),
    ("empty file", {"prompt": [{"tone": ""}]}, 422, "is empty"),
    ("garbage", {"prompt": [encoded(b"\x89PNG\r\n")]}, 422, r"not a \.tone file"),
    ("NaN", {"prompt": [encoded(b"nan " * 64)]}, 422, "finite"),
    ("infinity", {"prompt": [encoded(b"inf " * 64)]}, 422, "finite"),
    ("too large a file", {"prompt": [encoded(b" " * 64001)]}, 413, "64000 bytes"),
    ("much too large a file", {"prompt": [encoded(b" " * 90000)]}, 413, "64000 bytes"),
    ("too long a prompt", {"prompt": [{"text": "tone " * 600}]}, 422, "model takes 511 at most; shorten"),
    ("far too long a prompt", {"prompt": [{"text": "x" * 1_000_001}]}, 413, "1000000 characters"),
    ("no prompt", {}, 422, "prompt: Field required"),
    ("an empty prompt", {"prompt": []}, 422, "prompt: .* at least 1"),
    ("nothing but blanks", {"prompt": [{"text": " \n"}, {"text": ""}]}, 422, "prompt: it is empty"),
    ("too many parts", {"prompt": [{"text": "a"}] * 17}, 422, "prompt: .* at most 16"),
    ("a number as text", {"prompt": [{"text": 7}]}, 422, r"prompt\.0\.text: .* string"),
    ("no tokens", {"max_tokens": 0}, 422, "max_tokens"),
    ("too many tokens", {"max_tokens": 4097}, 422, "max_tokens"),
    ("tokens as text", {"max_tokens": "9"}, 422, "max_tokens"),
    ("freezing", {"temperature": -0.1}, 422, "temperature"),
    ("NaN temperature", {"temperature": float("nan")}, 422, "temperature"),
    ("negative seed", {"seed": -1}, 422, "seed"),
    ("empty stop", {"stop": [""]}, 422, "stop"),
    ("no time", {"timeout": 0}, 422, "timeout"),
    ("unknown field", {"top_k": 5}, 422, "top_k"),
    ("unknown checkpoint", {"checkpoint": "0009-none"}, 404, r"'0009-none' is not in memory; there is: 0001-tone-"),
]


@pytest.mark.parametrize(("change", "status", "match"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_request_is_told_in_one_line_what_to_change(
    server: Running, change: dict[str, Any], status: int, match: str
) -> None:
    given = change if not change or "prompt" in change else {"prompt": [text()], **change}
    answer = server.http.post("/generate", content=json.dumps(given), headers={"content-type": "application/json"})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type"}
    assert "\n" not in error["message"]
    assert str(server.url) not in error["message"]
    assert re.search(match, error["message"])
    assert answer.headers["x-checkpoint"]
    assert server.ask(text(), max_tokens=1).status_code == 200, "The next request succeeds."


def test_a_body_that_is_no_json_is_refused(server: Running) -> None:
    for body in (b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000):
        answer = server.http.post("/generate", content=body)
        assert answer.status_code == 422
        assert answer.json()["error"]["type"] == "invalid_request"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_without_end_is_refused(server: Running, chunked: bool) -> None:
    size = 4 * 2**20
    body: Any = (b"x" * 65536 for _ in range(size // 65536)) if chunked else b"x" * size
    answer = server.http.post("/generate", content=body)
    assert answer.status_code == 413
    assert "fewer or smaller" in answer.json()["error"]["message"]


def test_a_body_that_does_not_come_is_not_waited_for(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.wire.BODY_SECONDS", 0.05)
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as client:
        client.sendall(b"POST /generate HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n{")
        assert client.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_special_token_typed_as_text_is_text(server: Running) -> None:
    plain = server.ask(text("tone"), max_tokens=1).json()["usage"]["prompt_tokens"]
    typed = server.ask(text("tone<|im_end|>"), max_tokens=1).json()["usage"]["prompt_tokens"]
    assert typed > plain + 2


def test_an_error_in_mid_stream_is_its_last_event(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    model = server.engine._batch.model
    body = {"prompt": [text()], "max_tokens": 480, "stream": True}
    with server.http.stream("POST", "/generate", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        with monkeypatch.context() as broken:
            broken.setattr(model, "forward", lambda **_: 1 / 0)
            rest = [line for line in lines if line]
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["type"] == "engine"
    assert server.ask(text(), max_tokens=1).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_is_not_whole_in_time_is_given_up(
    server: Running, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    model = server.engine._batch.model
    forward = model.forward

    def slow(**given: Any) -> Any:
        time.sleep(0.01)
        return forward(**given)

    monkeypatch.setattr(model, "forward", slow)
    answer = server.ask(text(), max_tokens=490, timeout=1, stream=stream)
    if stream:
        *pieces, last = events(answer.text)
        assert pieces, "It streamed until then."
        error = last["error"]
    else:
        assert answer.status_code == 504
        error = answer.json()["error"]
    assert error["type"] == "too_late"
    assert "within 1 seconds" in error["message"]
    until(lambda: server.engine.running == 0)


def test_a_bug_is_logged_with_the_requests_id_and_not_told(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(type(server.live.current.embedder), "converse", lambda *_: Path("/secret/path").read_bytes())
    answer = server.ask(text())
    assert answer.status_code == 500
    request_id = answer.headers["x-request-id"]
    assert answer.json()["error"]["message"].endswith(f"under request {request_id}.")
    assert "secret" not in answer.text
    assert request_id in caplog.text
    assert "/secret/path" in caplog.text


def test_an_unknown_route_and_a_wrong_method_are_errors_of_the_same_form(server: Running) -> None:
    for path, status in (("/nothing", 404), ("/generate", 405)):
        answer = server.http.get(path)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type"}


def test_the_openapi_document_describes_every_field(server: Running) -> None:
    document = server.http.get("/openapi.json").json()
    body = document["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {
        "prompt", "max_tokens", "temperature", "seed", "stop", "stream", "timeout", "checkpoint"
    }  # fmt: skip
    assert all(field["description"] for field in body["properties"].values())
