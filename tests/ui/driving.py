"""Driving the chat: the page's process, a page in a browser, and what a person does and sees there."""

import base64
import io
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.serving.running import until

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 180  # seconds that a busy machine may need for anything
# What Gradio itself does wrong: event loops left open as it is imported, two things that pandas will drop.
GRADIO = (
    "ignore::ResourceWarning",
    "ignore:'future.no_silent_downcasting' is deprecated",
    "ignore:The copy keyword is deprecated",
)

expect.set_options(timeout=PATIENCE * 1000)


@contextmanager
def chat(server: str, uploads: Path, **environment: str) -> Iterator[str]:
    """python -m ui, as a user starts it; its address."""
    port = free_port()
    strict = [f"-W{rule}" for rule in ("error", *GRADIO)]
    command = [sys.executable, *strict, "-m", "ui", "--server", server, "--port", str(port)]
    environment = {**os.environ, "TMPDIR": str(uploads), **environment}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: process.poll() is not None or answers(url), PATIENCE)
        assert process.poll() is None, "The chat did not start."
        yield url
        process.terminate()
        said = process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == 0
        assert said == f"The chat is at {url} (server: {server})\n", said
        assert not list(uploads.glob("polymera-ui-*")), "What was dropped is gone when the chat is."
    finally:
        process.kill()
        process.communicate()


@contextmanager
def looking(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A fresh page; nothing that it asks for may come from outside this machine."""
    context = browser.new_context(**{"viewport": {"width": 1000, "height": 900}, **options})
    context.set_default_timeout(PATIENCE * 1000)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.goto(url)
    box(page).wait_for()
    yield page
    context.close()
    outside = [url for url in asked if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))]
    assert asked
    assert not outside


def box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message")


def live(page: Page) -> Locator:
    return page.get_by_label("Live checkpoint")


def said(page: Page) -> Locator:
    """What stands on the model's side: each answer, and below it its checkpoint."""
    return page.get_by_test_id("bot")


def words(page: Page) -> list[str]:
    """The words of the first answer as the server sent them, before Markdown."""
    label = said(page).first.get_attribute("aria-label")
    assert label is not None
    return label.removeprefix("bot's message: ").split()


def ask(page: Page, question: str) -> None:
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    box(page).fill(question)
    box(page).press("Enter")


def attach(page: Page, name: str, data: bytes) -> None:
    """As if picked with the button."""
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "", "buffer": data})


def drop(page: Page, name: str, data: bytes) -> None:
    """As if let go over the conversation."""
    page.evaluate(
        """([name, data]) => {
            const files = new DataTransfer();
            files.items.add(new File([Uint8Array.from(atob(data), (byte) => byte.charCodeAt(0))], name));
            for (const type of ["dragover", "drop"]) {
                const event = new DragEvent(type, { dataTransfer: files, bubbles: true, cancelable: true });
                document.querySelector("#board").dispatchEvent(event);
            }
        }""",
        [name, base64.b64encode(data).decode()],
    )


def pixels(picture: bytes) -> NDArray[np.int64]:
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB"), np.int64)


def reds_and_blues(picture: bytes) -> tuple[int, int]:
    """How many pixels are red, and how many blue."""
    red, _, blue = np.moveaxis(pixels(picture), -1, 0)
    return int((red > blue + 80).sum()), int((blue > red + 80).sum())


def differing(one: bytes, other: bytes) -> int:
    """How many pixels are quite different."""
    return int((abs(pixels(one) - pixels(other)).sum(-1) > 150).sum())


def answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False).is_success
    return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
