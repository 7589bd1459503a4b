"""The chat as a person meets it: the real page, driven in a real browser.

Against a real server with a pico model: drop, ask, answer, swap. Against a stand-in: what needs time or a look.
"""

import io
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests import pico
from tests.serving.running import Running, serve, text, tone, until
from tests.ui.driving import (
    PATIENCE,
    ROOT,
    ask,
    attach,
    box,
    chat,
    differing,
    drop,
    free_port,
    live,
    looking,
    reds_and_blues,
    said,
    words,
)
from tests.ui.standin import IMAGE, SOLID, Standin, running

CHROMIUM = Path(os.environ.get("POLYMERA_CHROMIUM", "/usr/bin/chromium"))
QUIET = "no-first-run disable-background-networking disable-component-update disable-sync disable-quic".split()
DRAWING = "use-gl=angle use-angle=swiftshader enable-unsafe-swiftshader".split()  # 3D without a graphics card


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM.exists(), "There is no Chromium; `make test` installs it (or: apt-get install chromium)."
    with sync_playwright() as playwright:
        options = [f"--{option}" for option in ("headless", "no-sandbox", *QUIET, *DRAWING)]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    with running(Standin(modalities=[IMAGE, SOLID])) as server:
        yield server


@pytest.fixture(scope="module")
def standin_chat(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chat(standin.url, tmp_path_factory.mktemp("uploads")) as url:
        yield url


@pytest.fixture
def page(browser: Browser, standin_chat: str, standin: Standin) -> Iterator[Page]:
    standin.pause, standin.cancelled, standin.words = 0, 0, ["A", " picture"]
    with looking(browser, standin_chat) as fresh:
        expect(live(fresh)).to_have_text(standin.checkpoint)
        yield fresh


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


class TestWithTheRealServer:
    def test_a_file_is_asked_about_and_the_answer_names_its_checkpoint(
        self, browser: Browser, real: Running, real_chat: str
    ) -> None:
        with looking(browser, real_chat) as page:
            expect(page.get_by_label("Senses")).to_contain_text("tone")
            attach(page, "hum.tone", pico.tone(3))
            expect(page.get_by_role("button", name="about: hum.tone")).to_be_visible()
            ask(page, "What do you hear?")
            expect(said(page).nth(1)).to_contain_text(real.live.current.checkpoint.id)
            expected = real.ask(tone(3), text("What do you hear?")).json()["text"]
            assert words(page) == expected.split()

    def test_a_swap_shows_without_a_reload_and_brings_its_senses(
        self, browser: Browser, real: Running, real_chat: str
    ) -> None:
        first = real.live.current.checkpoint.id
        listed = real.http.get("/admin/checkpoints", headers=real.admin).json()["checkpoints"]
        second = next(one["id"] for one in listed if one["id"] != first)
        with looking(browser, real_chat) as page:
            page.evaluate("window.unreloaded = true")
            expect(live(page)).to_have_text(first)
            ask(page, "Who are you?")
            expect(said(page).nth(1)).to_contain_text(first)
            attach(page, "beat.pulse", pico.tone(1))
            expect(said(page).nth(2)).to_contain_text(
                "does not understand .pulse files yet. It understands tone (.tone)"
            )

            assert real.deploy(second).status_code == 200
            expect(live(page)).to_have_text(second)
            expect(page.get_by_label("Files it takes")).to_contain_text(".pulse")
            attach(page, "beat.pulse", pico.tone(1))
            expect(page.get_by_role("button", name="about: beat.pulse")).to_be_visible()
            ask(page, "What do you hear?")
            expect(said(page).nth(4)).to_contain_text(second)
            expect(said(page).nth(1)).to_contain_text(first)  # an answer keeps its maker
            assert page.evaluate("window.unreloaded")


class TestWithASlowServer:
    def test_the_stop_button_closes_the_stream(self, page: Page, standin: Standin) -> None:
        standin.pause = 0.5
        standin.words = ["One", *[" more"] * 1000]
        ask(page, "Count.")
        expect(said(page).first).to_contain_text("One more")
        box(page).fill("written ahead")
        page.get_by_role("button", name="Stop").click()
        expect(said(page).nth(1)).to_have_text(f"{standin.checkpoint} · stopped")
        expect(page.get_by_role("button", name="Send")).to_be_visible()
        expect(box(page)).to_have_value("written ahead")
        until(lambda: standin.cancelled == 1)

    def test_a_closed_page_stops_its_answer(self, page: Page, standin: Standin) -> None:
        standin.pause = 0.5
        standin.words = ["One", *[" more"] * 1000]
        ask(page, "Count.")
        expect(said(page).first).to_contain_text("One more")
        page.close()
        until(lambda: standin.cancelled == 1, PATIENCE)


class TestThePage:
    def test_a_picture_is_shown_at_once_and_sent_as_it_is(self, page: Page, standin: Standin) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (300, 200), "teal").save(buffer, "PNG")
        attach(page, "wall.png", buffer.getvalue())
        picture = page.locator("#board img")
        expect(picture).to_be_visible()
        until(lambda: picture.evaluate("img => img.naturalWidth") == 300)
        expect(page.get_by_test_id("user").nth(1)).to_have_text("wall.png")
        ask(page, "What colour is it?")
        expect(said(page).nth(1)).to_have_text(standin.checkpoint)
        assert standin.media() == {"image": buffer.getvalue()}
        ask(page, "Are you sure?")
        expect(said(page).nth(3)).to_have_text(standin.checkpoint)
        assert standin.media() == {"image": buffer.getvalue()}, "The next question is about the same picture."
        page.get_by_role("button", name="about: wall.png").click()
        expect(page.get_by_role("button", name="about:")).to_be_hidden()
        ask(page, "And now?")
        expect(said(page).nth(5)).to_have_text(standin.checkpoint)
        assert standin.media() == {}
        page.get_by_role("button", name="New chat").click()
        expect(picture).to_be_hidden()
        expect(page.get_by_text("What would you like to ask about?")).to_be_visible()

    def test_a_point_cloud_can_be_seen_in_its_colours_and_turned(self, page: Page, standin: Standin) -> None:
        places = np.random.default_rng(0).uniform(-1, 1, (1500, 3))
        places[:, 2] *= 0.1
        paint = np.where(places[:, :1] < 0, [[230, 30, 30, 255]], [[30, 60, 230, 255]]).astype(np.uint8)
        data = trimesh.PointCloud(places, paint).export(file_type="ply")
        drop(page, "part.ply", data)
        canvas = page.locator("#board canvas")
        until(lambda: canvas.count() and min(reds_and_blues(canvas.screenshot())) > 2000, PATIENCE)
        before = canvas.screenshot()
        edges = canvas.bounding_box()
        assert edges is not None
        page.mouse.move(edges["x"] + 100, edges["y"] + 120)
        page.mouse.down()
        page.mouse.move(edges["x"] + 220, edges["y"] + 120, steps=5)
        page.mouse.up()
        until(lambda: differing(before, canvas.screenshot()) > 2000, PATIENCE)
        ask(page, "")
        expect(page.get_by_test_id("user").last).to_have_text("What is this?")
        expect(said(page).nth(1)).to_have_text(standin.checkpoint)
        assert standin.media() == {"solid": data}

    def test_the_picker_offers_what_the_live_checkpoint_takes(self, page: Page) -> None:
        expect(page.get_by_label("Files it takes")).to_contain_text("image .png .jpg up to 1 MB")
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Add a file").click()
        assert chooser.value.is_multiple()
        assert chooser.value.element.get_attribute("accept") == ".png,.jpg,.ply,.stl"

    @pytest.mark.parametrize(
        ("question", "sentence"),
        [
            ("status 422 No key 'smell'; it knows image.", "⚠ No key 'smell'; it knows image."),
            ("status 429", "⚠ The server is busy with other questions. Please send yours again in 3 seconds."),
        ],
    )
    def test_what_the_server_says_is_shown(self, page: Page, question: str, sentence: str) -> None:
        ask(page, question)
        expect(said(page).first).to_have_text(sentence)
        expect(page.get_by_role("button", name="Send")).to_be_visible()

    def test_it_fits_a_narrow_dark_window(self, browser: Browser, standin_chat: str) -> None:
        narrow: Any = {"viewport": {"width": 400, "height": 700}, "color_scheme": "dark"}
        with looking(browser, standin_chat, **narrow) as page:
            expect(page.get_by_label("Files it takes")).to_be_in_viewport()
            expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)
            expect(page.get_by_role("button", name="New chat")).to_be_in_viewport(ratio=1)
            assert page.evaluate("document.scrollingElement.scrollWidth") == 400
            assert page.evaluate("document.scrollingElement.scrollHeight") == 700
            with Image.open(io.BytesIO(page.screenshot())) as shown:
                assert np.asarray(shown.convert("L")).mean() < 60


def test_a_server_that_is_away_is_named_and_found_again(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    with chat(f"http://127.0.0.1:{port}", tmp_path, POLYMERA_API_KEY="secret") as url, looking(browser, url) as page:
        expect(page.get_by_role("status").first).to_contain_text(f"No server answers at http://127.0.0.1:{port}.")
        ask(page, "Is anybody there?")
        expect(said(page).first).to_contain_text("⚠ No server answers at")
        attach(page, "a.png", b"")
        expect(said(page).nth(1)).to_contain_text("⚠ No server answers at")
        with running(Standin(key="secret"), port) as standin:
            expect(live(page)).to_have_text(standin.checkpoint)
            ask(page, "And now?")
            expect(said(page).last).to_have_text(standin.checkpoint)


def test_wrong_use_is_one_line_and_exit_code_2() -> None:
    def run(*options: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, "-m", "ui", *options], cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stderr.splitlines()[-1]

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        message = f"error: Cannot listen on 127.0.0.1 port {port}; stop what uses it, or choose another --port."
        assert run("--port", port) == (2, message)
    code, message = run("--server", "localhost:8000")
    assert code == 2
    assert "give a URL such as http://127.0.0.1:8000" in message
