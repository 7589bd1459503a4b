"""report.html: the same report as one self-contained file, with the stages as a map and as curves, and media beside
what has changed. It knows nothing but report.json and the media of the items that it shows.
"""

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from eval.report import Past, Report
from eval.words import PLAIN, judging, stages, title, what_would_change
from modalities.base import TEXT, Dataset, Part

LARGEST = 300_000  # bytes of a file that is put into the page
COLOURS = ("#1b6ca8", "#b3261e", "#2e7d32", "#7b3fa0", "#b26a00", "#00838f", "#5d4037")


def render(report: Report, datasets: Mapping[str, Sequence[Dataset]]) -> str:
    """The whole page. `datasets` are those that were asked, by modality: the media come from there."""
    parts = {
        (one.name, sample.id): [part for part in sample.prompt if part.modality != TEXT]
        for mine in datasets.values()
        for one in mine
        for sample in one.test
    }
    return _template().render(
        report=report,
        plain=PLAIN,
        stages=stages(report),
        curves=_curves(stages(report), report.modalities),
        changes=what_would_change(report.verdict) if report.verdict else [],
        flips=[(one, [_shown(part) for part in parts.get((one.dataset, one.id), [])]) for one in report.flips],
        judging=judging(report),
        title=title,
        percent=lambda value: f"{value:.2%}",
        colour=_colour,
    )


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).with_name("data"))
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("report.html")


def _shown(part: Part) -> dict[str, str]:
    """A media file as the page takes it: its kind by its media type, and its bytes unless there are too many."""
    name = part.content.name if isinstance(part.content, Path) else part.modality
    data = part.data()
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if len(data) > LARGEST:
        return {"kind": "", "name": name, "uri": ""}
    uri = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    return {"kind": media_type.partition("/")[0], "name": name, "uri": uri}


def _colour(share: float) -> str:
    """Red at 70 % and less, green at 100 % and more."""
    hue = 120 * min(max((share - 0.7) / 0.3, 0.0), 1.0)
    return f"hsl({hue:.0f} 60% 85%)"


def _curves(past: Sequence[Past], names: Sequence[str]) -> dict[str, Any] | None:
    """Relative Gain by stage, a curve a modality, as points of an SVG of 620 by 240. None for a single stage."""
    if len(past) < 2:
        return None
    values = [value for one in past for each in one.modalities.values() for value in (each.lower, each.upper)]
    low, high = min([*values, 0.8]), max([*values, 1.05])
    step = 540 / (len(past) - 1)

    def y(value: float) -> float:
        return round(215 - 190 * (value - low) / (high - low), 1)

    lines = []
    for number, name in enumerate(names):
        dots = [
            {"x": round(50 + place * step, 1), "y": y(one.value), "low": y(one.lower), "high": y(one.upper)}
            for place, one in ((place, each.modalities.get(name)) for place, each in enumerate(past))
            if one is not None
        ]
        points = " ".join(f"{dot['x']},{dot['y']}" for dot in dots)
        colour = COLOURS[number % len(COLOURS)]
        lines.append({"name": name, "colour": colour, "points": points, "dots": dots, "at": 50 + 130 * number})
    grid = [{"y": y(value), "label": f"{value:.0%}"} for value in (low, 0.9, 1.0, high)]
    ticks = [{"x": round(50 + place * step, 1), "label": f"stage {one.stage}"} for place, one in enumerate(past)]
    return {"lines": lines, "grid": grid, "ticks": ticks}
