"""Emoji art as pictures: one drawing of a label in one style, and drawings placed on a square.

It knows where the art lies in the fetched packages; it knows no question and no split.
"""

import io
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from modalities.assets import Package, fetch
from modalities.packages import EMOJIBASE, EMOJIONE, FLUENT_3D, FLUENT_FLAT, NOTO, NOTO_V1, OPENMOJI, TWEMOJI

SIDE = 260
DRAWN = 320  # the side of a drawing before its border is cut off
DRAWINGS = {  # SVG collections
    "noto": NOTO,
    "noto-v1": NOTO_V1,
    "openmoji": OPENMOJI,
    "fluent-flat": FLUENT_FLAT,
    "emojione": EMOJIONE,
    "twemoji": TWEMOJI,
}
RENDERED = "fluent-3d"
MISNAMED = {("noto-v1", "cricket"), ("emojione", "cricket")}  # the sport, where the label means the insect
STYLES = (*DRAWINGS, RENDERED)


@dataclass(frozen=True)
class Placed:
    """A drawing of a label whose longer side is `size`, around the point x, y."""

    label: str
    x: int
    y: int
    size: int


@dataclass(frozen=True)
class Picture:
    """All that a picture file is drawn from."""

    style: str
    background: tuple[int, int, int]
    things: tuple[Placed, ...]


class Art:
    """The drawings of every style, by Emojibase's label."""

    def __init__(self, store: Path) -> None:
        self.store = store
        names = fetch(store, EMOJIBASE) / "package" / "en" / "data.json"
        self._codes: dict[str, str] = {row["label"]: row["hexcode"].lower() for row in _json(names)}
        self._drawings = {style: Collection(store, package) for style, package in DRAWINGS.items()}
        self._rendered = fetch(store, FLUENT_3D) / "package" / "assets"
        self._cut: dict[tuple[str, str], Image.Image] = {}

    def has(self, style: str, label: str) -> bool:
        """Whether the style has a drawing of the label."""
        if label not in self._codes or (style, label) in MISNAMED:
            return False
        if style == RENDERED:
            return self._file(label) is not None
        return self._drawings[style].name(label, self._codes[label]) is not None

    def draw(self, picture: Picture) -> Image.Image:
        """The picture, 260 by 260, RGB."""
        canvas = Image.new("RGBA", (SIDE, SIDE), (*picture.background, 255))
        for thing in picture.things:
            cut = self._cutout(picture.style, thing.label)
            scale = thing.size / max(cut.size)
            shape = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
            small = cut.resize(shape, Image.Resampling.LANCZOS)
            canvas.alpha_composite(small, (thing.x - small.width // 2, thing.y - small.height // 2))
        return canvas.convert("RGB")

    def _cutout(self, style: str, label: str) -> Image.Image:
        """The drawing without its transparent border."""
        key = style, label
        if key not in self._cut:
            self._cut[key] = self._open(style, label)
            if len(self._cut) > 64:
                self._cut.pop(next(iter(self._cut)))
        return self._cut[key]

    def _open(self, style: str, label: str) -> Image.Image:
        source = self._file(label) if style == RENDERED else self._drawings[style].png(label, self._codes[label])
        assert source is not None, f"{style} has no drawing of {label!r}"
        with Image.open(source) as image:
            drawing = image.convert("RGBA")
        return drawing.crop(drawing.getchannel("A").getbbox())

    def _file(self, label: str) -> Path | None:
        code = self._codes[label]
        files = (self._rendered / f"{name}.webp" for name in (code, _plain(code)))
        return next((file for file in files if file.is_file()), None)


class Collection:
    """One Iconify collection: SVG bodies by icon name. Icons are found by code points, else by the label."""

    def __init__(self, store: Path, package: Package) -> None:
        self._folder = fetch(store, package) / "package"

    @cached_property
    def _icons(self) -> Any:
        return _json(self._folder / "icons.json")

    @cached_property
    def _names(self) -> dict[str, str]:
        return {_plain(code): name for code, name in _json(self._folder / "chars.json").items()}

    def name(self, label: str, code: str) -> str | None:
        """The icon of the label or its code points, if there is one."""
        name = self._names.get(_plain(code), "") if self._names else _slug(label)
        name = self._icons.get("aliases", {}).get(name, {}).get("parent", name)
        return name if name in self._icons["icons"] else None

    def png(self, label: str, code: str) -> io.BytesIO:
        """The icon, drawn without the machine's fonts (no icon holds text)."""
        import resvg_py

        icon = self._icons["icons"][self.name(label, code)]
        left, top = icon.get("left", 0), icon.get("top", 0)
        width, height = (icon.get(key, self._icons.get(key, 16)) for key in ("width", "height"))
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{icon["body"]}</svg>'
        )
        png = resvg_py.svg_to_bytes(svg_string=svg, width=DRAWN, height=DRAWN, skip_system_fonts=True)
        return io.BytesIO(bytes(png))


def _plain(code: str) -> str:
    """Code points without the marks that only ask for a colourful drawing."""
    return code.lower().replace("-fe0f", "")


def _slug(label: str) -> str:
    """As Iconify names an icon after a label: `T-Rex` is `t-rex`."""
    return re.sub("[^a-z0-9]+", "-", label.lower()).strip("-")


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
