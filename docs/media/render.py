"""Renders apple.svg, our own drawing, as the PNG that the README asks about: python docs/media/render.py."""

from pathlib import Path

import resvg_py


def png(svg: Path) -> bytes:
    """The drawing as a PNG, 256 pixels wide."""
    return bytes(resvg_py.svg_to_bytes(svg_string=svg.read_text(), width=256))


if __name__ == "__main__":
    drawing = Path(__file__).with_name("apple.svg")
    drawing.with_suffix(".png").write_bytes(png(drawing))
