"""The chat with a real server and a pico model: a file, a question, an answer, and a swap in between."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests import pico
from tests.serving.running import Running, serve, text, tone
from tests.ui.driving import ask, attach, chat, live, looking, said, words


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    store = pico.store(tmp_path_factory.mktemp("pico") / "store")
    pico.checkpoint(store, 2, ("tests.toy.tone", "tests.toy.pulse"))
    with serve(store, store.live()) as server:
        yield server


@pytest.fixture(scope="module")
def real_chat(real: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chat(real.url, tmp_path_factory.mktemp("uploads")) as url:
        yield url


def test_a_file_is_asked_about_and_the_answer_names_its_checkpoint(
    browser: Browser, real: Running, real_chat: str
) -> None:
    with looking(browser, real_chat) as page:
        expect(page.get_by_label("Senses")).to_contain_text("tone")
        attach(page, "hum.tone", pico.tone(3))
        expect(page.get_by_role("button", name="about: hum.tone")).to_be_visible()
        ask(page, "What do you hear?")
        expect(said(page).nth(1)).to_contain_text(real.live.current.checkpoint.id)
        expected = real.ask(tone(3), text("What do you hear?")).json()["text"]
        assert words(page) == expected.split()


def test_a_swap_shows_without_a_reload_and_brings_its_senses(browser: Browser, real: Running, real_chat: str) -> None:
    first = real.live.current.checkpoint.id
    listed = real.http.get("/admin/checkpoints", headers=real.admin).json()["checkpoints"]
    second = next(one["id"] for one in listed if one["id"] != first)
    with looking(browser, real_chat) as page:
        page.evaluate("window.unreloaded = true")
        expect(live(page)).to_have_text(first)
        ask(page, "Who are you?")
        expect(said(page).nth(1)).to_contain_text(first)
        attach(page, "beat.pulse", pico.tone(1))
        expect(said(page).nth(2)).to_contain_text("not understand .pulse files yet. It understands tone (.tone)")

        assert real.deploy(second).status_code == 200
        expect(live(page)).to_have_text(second)
        expect(page.get_by_label("Files it takes")).to_contain_text(".pulse")
        attach(page, "beat.pulse", pico.tone(1))
        expect(page.get_by_role("button", name="about: beat.pulse")).to_be_visible()
        ask(page, "What do you hear?")
        expect(said(page).nth(4)).to_contain_text(second)
        expect(said(page).nth(1)).to_contain_text(first)  # an answer keeps its maker
        assert page.evaluate("window.unreloaded")
