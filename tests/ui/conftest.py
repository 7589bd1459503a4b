"""The browser that the tests of the chat drive."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

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
