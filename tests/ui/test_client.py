"""The HTTP client of the chat against a real server: what arrives, what is sent, and what a failure sounds like."""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.ui.standin import SOLID, Standin, running
from ui.client import Client, Live, Piece, ServerError


@pytest.fixture(scope="module")
def server() -> Iterator[Standin]:
    with running(Standin()) as standin:
        yield standin


def talk(url: str, use: Callable[[Client], Coroutine[Any, Any, Any]], key: str | None = None) -> Any:
    """What a coroutine makes of a client, which is closed afterwards."""

    async def whole() -> Any:
        client = Client(url, key)
        try:
            return await use(client)
        finally:
            await client.close()

    return asyncio.run(whole())


async def ask(client: Client, text: str) -> list[Piece]:
    return [piece async for piece in client.stream([{"text": text}])]


def complaint(url: str, text: str = "Hello?", key: str | None = None) -> str:
    """The sentence that a question ends with."""
    with pytest.raises(ServerError) as caught:
        talk(url, lambda client: ask(client, text), key)
    return str(caught.value)


def test_the_live_checkpoint_and_its_senses_are_read(server: Standin) -> None:
    server.modalities.append(SOLID)
    live: Live = talk(server.url, lambda client: client.live())
    server.modalities.remove(SOLID)
    assert live.checkpoint == "0001-image-aaaa"
    assert [sense.name for sense in live.modalities] == ["image", "solid"]
    assert live.modalities[1].suffixes == (".ply", ".stl")


def test_an_answer_comes_in_pieces_and_ends_with_a_reason(server: Standin) -> None:
    pieces: list[Piece] = talk(server.url, lambda client: ask(client, "What is this?"))
    assert [piece.text for piece in pieces] == ["a", " small", " unicorn", ".", ""]
    assert {piece.checkpoint for piece in pieces} == {"0001-image-aaaa"}
    assert [piece.finish_reason for piece in pieces] == [None] * 4 + ["stop"]
    assert server.prompts[-1] == [{"text": "What is this?"}]


def test_closing_the_stream_cancels_the_answer_on_the_server() -> None:
    async def first_piece(client: Client) -> str:
        stream = client.stream([{"text": "Tell me everything."}])
        piece = await anext(stream)
        await stream.aclose()
        return piece.text

    with running(Standin(words=["word"] * 1000, pause=0.01)) as slow:
        assert talk(slow.url, first_piece) == "word"
        end = time.monotonic() + 5
        while not slow.cancelled and time.monotonic() < end:
            time.sleep(0.01)
        assert slow.cancelled == 1


def test_the_key_is_sent_and_its_lack_is_named() -> None:
    with running(Standin(key="secret")) as locked:
        assert talk(locked.url, lambda client: ask(client, "Hello?"), "secret")
        assert "POLYMERA_API_KEY" in complaint(locked.url)
        assert "POLYMERA_API_KEY" in complaint(locked.url, key="wrong")


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("status 422 Unknown key 'smell'; it knows image.", "Unknown key 'smell'; it knows image."),
        ("status 413 Too large; send a smaller one.", "Too large; send a smaller one."),
        ("status 429 busy", "The server is busy with other questions. Please send yours again in 3 seconds."),
        ("status 503", "The server is not ready yet. Please try again in a moment."),
        ("status 503 Still loading 0001.", "Still loading 0001."),
        ("status 500 It broke.", "The server failed (HTTP 500): It broke."),
        ("status 502", "The server failed (HTTP 502)."),
        ("fail", "The engine ran out of memory."),
        ("break off", "The connection to the server broke off. Please send your question again."),
    ],
)
def test_a_failure_is_a_sentence(server: Standin, question: str, sentence: str) -> None:
    assert complaint(server.url, question) == sentence


def test_the_servers_list_of_problems_is_one_sentence(server: Standin) -> None:
    server.problem = [{"loc": ["body", "seed"], "msg": "must be a number"}, {"msg": "too many parts"}]
    assert complaint(server.url, "status 422 problem") == "body.seed: must be a number; too many parts"


def test_a_server_that_is_not_there_is_named_with_the_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    sentence = complaint(url)
    assert url in sentence
    assert "make serve" in sentence
    with pytest.raises(ServerError, match="make serve"):
        talk(url, lambda client: client.live())


def test_a_server_that_never_answers_is_given_up(server: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.client.POLL_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(ServerError, match="took too long"):
        talk(f"http://127.0.0.1:{deaf.getsockname()[1]}", lambda client: client.live())


def test_something_else_that_answers_is_told_apart(server: Standin) -> None:
    with pytest.raises(ServerError, match="--server"):
        talk(f"{server.url}/elsewhere", lambda client: client.live())
