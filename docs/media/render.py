"""Makes the files that the README asks about, all of them our own: python docs/media/render.py [STORE].

apple.png from our drawing apple.svg; brick.glb, a box with two rows of studs; harp.wav, four notes on the harp of
MuseScore_General (MIT), a sound font that is fetched into the store.
"""

import sys
from pathlib import Path

import resvg_py
import trimesh

from modalities.audio.data import wav
from modalities.audio.fonts import TRAIN, play
from modalities.audio.phrases import Phrase

HERE = Path(__file__).parent
STUD, BRICK = 8.0, 9.6  # millimetres from stud to stud, and a brick's height
BLUE = (30, 90, 190, 255)
HARP = 46  # General MIDI, counted from 0


def png(svg: Path) -> bytes:
    """The drawing as a PNG, 256 pixels wide."""
    return bytes(resvg_py.svg_to_bytes(svg_string=svg.read_text(), width=256))


def brick(columns: int, rows: int) -> bytes:
    """A brick with its studs as a GLB, y upwards."""
    parts = [trimesh.creation.box((columns * STUD, BRICK, rows * STUD))]
    for column in range(columns):
        for row in range(rows):
            stud = trimesh.creation.cylinder(radius=2.4, height=1.7, sections=16)
            stud.apply_transform(trimesh.transformations.rotation_matrix(-1.5707963, (1, 0, 0)))
            middle = (column - (columns - 1) / 2) * STUD, BRICK / 2 + 0.85, (row - (rows - 1) / 2) * STUD
            stud.apply_translation(middle)
            parts.append(stud)
    whole = trimesh.util.concatenate(parts)
    assert isinstance(whole, trimesh.Trimesh)
    whole.visual = trimesh.visual.ColorVisuals(whole, vertex_colors=[BLUE] * len(whole.vertices))
    return bytes(trimesh.exchange.gltf.export_glb(trimesh.Scene(whole)))


def harp(store: Path) -> bytes:
    """Four rising notes as a WAV."""
    phrase = Phrase((60, 64, 67, 72), (400, 400, 400, 400), (96, 96, 96, 96), "rising", "slow", "middle")
    return wav(play(store, TRAIN[1], HARP, phrase))


if __name__ == "__main__":
    (HERE / "apple.png").write_bytes(png(HERE / "apple.svg"))
    (HERE / "brick.glb").write_bytes(brick(4, 2))
    (HERE / "harp.wav").write_bytes(harp(Path(sys.argv[1] if len(sys.argv) > 1 else "store")))
