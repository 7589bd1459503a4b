"""report.html is one file for a reader: verdict, the stages as a map and as curves, media beside what changed."""

import re
from dataclasses import replace
from pathlib import Path

from eval.html import LARGEST, render
from modalities.base import TEXT, Dataset, Part, Sample
from tests.eval.test_report import made


def asked(*parts: Part) -> dict[str, list[Dataset]]:
    sample = Sample("9", "qa", (*parts, Part(TEXT, "Which?")), ("red",))
    return {"image": [Dataset("im-qa", "qa", (), (sample,))]}


def test_everything_is_in_the_one_file() -> None:
    page = render(made(), {})
    assert "INCONCLUSIVE: nobody can say yet" in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page), "Nothing is fetched."
    assert "<script" not in page
    assert "What would change the verdict" in page
    assert "Cohen" in page


def test_stages_are_a_map_with_bounds_and_curves() -> None:
    page = render(made(), {})
    assert page.count('<td style="background: hsl(') == 2
    assert "100.00% … 100.00%" in page
    assert page.count("<polyline") == 2
    assert "stage 1" in page
    alone = made().model_copy(update={"history": ()})
    assert "<svg" not in render(alone, {}), "One stage is no curve."


def test_what_a_model_says_cannot_become_markup() -> None:
    page = render(made(), {})
    assert "<i>" not in page
    assert "&lt;i&gt;" in page


def test_a_flip_is_shown_with_its_media(tmp_path: Path) -> None:
    files = {}
    for name in ("a.png", "b.wav", "c.mp4", "d.ply", "large.png"):
        files[name] = tmp_path / name
        files[name].write_bytes(b"x" * (LARGEST + 1 if name == "large.png" else 10))
    page = render(made(), asked(*(Part("image", file) for file in files.values())))
    assert '<img src="data:image/png;base64,eHh4' in page
    assert '<audio controls src="data:audio/' in page
    assert '<video controls src="data:video/mp4' in page
    assert 'download="d.ply"' in page
    assert "large.png (too large to show)" in page


def test_an_item_that_is_no_longer_asked_is_shown_without_media() -> None:
    other = [replace(one, name="other") for one in asked()["image"]]
    assert "<b>(nothing)</b>" not in render(made(), {"image": other})
