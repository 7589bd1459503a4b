"""The chat as a person meets it: the real page in a real browser, beside a stand-in server that can be slow or away."""

import io
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.serving.running import until
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
)
from tests.ui.standin import IMAGE, SOLID, Standin, running


@dataclass(frozen=True)
class Place:
    """Where the chat is, and where it looks for its server."""

    url: str
    port: int


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    port = free_port()
    with chat(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("uploads"), POLYMERA_API_KEY="secret") as url:
        yield Place(url, port)


@pytest.fixture
def standin(place: Place) -> Iterator[Standin]:
    with running(Standin(modalities=[IMAGE, SOLID], key="secret"), place.port) as server:
        yield server


@pytest.fixture
def page(browser: Browser, place: Place, standin: Standin) -> Iterator[Page]:
    with looking(browser, place.url) as fresh:
        expect(live(fresh)).to_have_text(standin.checkpoint)
        yield fresh


def test_a_server_that_is_away_is_named_and_found_again(browser: Browser, place: Place) -> None:
    with looking(browser, place.url) as page:
        expect(page.get_by_role("status").first).to_contain_text(f"No server answers at http://127.0.0.1:{place.port}.")
        ask(page, "Is anybody there?")
        expect(said(page).first).to_contain_text("⚠ No server answers at")
        attach(page, "a.png", b"")
        expect(said(page).nth(1)).to_contain_text("⚠ No server answers at")
        with running(Standin(key="secret"), place.port) as standin:
            expect(live(page)).to_have_text(standin.checkpoint)
            ask(page, "And now?")
            expect(said(page).last).to_have_text(standin.checkpoint)


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

    def test_it_fits_a_narrow_dark_window(self, browser: Browser, place: Place, standin: Standin) -> None:
        narrow: Any = {"viewport": {"width": 400, "height": 700}, "color_scheme": "dark"}
        with looking(browser, place.url, **narrow) as page:
            expect(live(page)).to_have_text(standin.checkpoint)
            expect(page.get_by_label("Files it takes")).to_be_in_viewport()
            expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)
            expect(page.get_by_role("button", name="New chat")).to_be_in_viewport(ratio=1)
            assert page.evaluate("document.scrollingElement.scrollWidth") == 400
            assert page.evaluate("document.scrollingElement.scrollHeight") == 700
            with Image.open(io.BytesIO(page.screenshot())) as shown:
                assert np.asarray(shown.convert("L")).mean() < 60


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
