"""What Prometheus is told, read from a real server as Prometheus reads it."""

from prometheus_client.parser import text_string_to_metric_families

from modalities.checkpoint import Store
from tests import pico
from tests.serving.running import Running, serve, text, tone, until


def told(server: Running) -> dict[tuple[str, tuple[str, ...]], float]:
    """The value of each sample by its name and its labels' values, in the order of their names."""
    page = server.http.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    samples = [one for family in text_string_to_metric_families(page.text) for one in family.samples]
    return {(one.name, tuple(one.labels.values())): one.value for one in samples}


def test_requests_are_counted_by_route_outcome_and_checkpoint_and_their_tokens_timed(pico_store: Store) -> None:
    first = str(pico_store.live())
    with serve(pico_store, first) as server:
        server.ask(tone(1), text(), max_tokens=5)
        server.ask(tone(1), text(), max_tokens=5, stream=True)
        server.ask({"smell": "AAAA"})
        found = told(server)
        assert found["polymera_requests_total", (first, "/generate", "200")] == 2
        assert found["polymera_requests_total", (first, "/generate", "422")] == 1
        assert found["polymera_first_token_seconds_count", (first, "no")] == 2
        assert found["polymera_inter_token_seconds_count", (first, "no")] >= 2
        assert 0 < found["polymera_first_token_seconds_sum", (first, "no")] < 60
        assert found["polymera_encoder_cache_total", ("miss",)] == 1
        assert found["polymera_encoder_cache_total", ("hit",)] == 1
        assert found["polymera_requests_in_flight", ()] == 0


def test_a_client_that_leaves_and_one_that_waits_are_seen(pico_store: Store) -> None:
    first = str(pico_store.live())
    with serve(pico_store, first) as server:
        body = {"prompt": [text()], "max_tokens": 490, "stream": True}
        with server.http.stream("POST", "/generate", json=body) as answer:
            lines = answer.iter_lines()  # kept: a forgotten iterator closes the connection
            next(lines)
            assert told(server)["polymera_requests_in_flight", ()] == 1
        until(lambda: told(server).get(("polymera_requests_total", (first, "/generate", "499"))) == 1)
        assert told(server)["polymera_requests_in_flight", ()] == 0


def test_the_pause_of_a_swap_is_told_apart(pico_store: Store) -> None:
    first, second = str(pico_store.live()), pico.checkpoint(pico_store, 2).id
    with serve(pico_store, first) as server:
        body = {"prompt": [text()], "max_tokens": 490, "stream": True}
        with server.http.stream("POST", "/generate", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            assert server.deploy(second).status_code == 200
            assert sum(bool(line) for line in lines) > 1
        until(lambda: told(server)["polymera_swapping", ()] == 0)
        found = told(server)
        during = found["polymera_inter_token_seconds_count", (first, "yes")]
        after = found["polymera_inter_token_seconds_count", (first, "no")]
        assert min(during, after) > 0, "Tokens came while the second was loaded, and when it was live."


def test_swaps_are_timed_by_outcome(pico_store: Store) -> None:
    first, second = str(pico_store.live()), pico.checkpoint(pico_store, 2).id
    with serve(pico_store, first) as server:
        assert server.deploy(second).status_code == 200
        (pico_store.folder(first) / "connectors" / "tone.safetensors").write_bytes(b"")
        assert server.deploy(first).status_code == 422
        found = told(server)
        assert found["polymera_swap_seconds_count", ("done",)] == 1
        assert found["polymera_swap_seconds_count", ("failed",)] == 1
        server.ask(text(), max_tokens=2)
        assert told(server)["polymera_requests_total", (second, "/generate", "200")] == 1
