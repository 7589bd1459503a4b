"""Sounds and videos: what the paper's encoders are given."""

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from modalities.base import BadMedia
from modalities.paper.decode import frames, wave
from modalities.paper.pointcloud import read

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the program ffmpeg is not installed")


def wav(kind: str = "int16", rate: int = 44100, channels: int = 2, seconds: float = 1.0) -> bytes:
    tone = np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate) * 0.5
    values: Any = np.stack([tone] * channels, 1) if channels > 1 else tone
    if kind == "uint8":
        values = (values * 128 + 128).astype(np.uint8)
    elif kind.startswith("int"):
        values = (values * np.iinfo(kind).max).astype(kind)
    stream = io.BytesIO()
    wavfile.write(stream, rate, values.astype(kind))
    return stream.getvalue()


def film(count: int = 8, kind: str = "GIF") -> bytes:
    pictures = [Image.new("RGB", (32, 24), (index * 30, 0, 0)) for index in range(count)]
    stream = io.BytesIO()
    pictures[0].save(stream, kind, save_all=True, append_images=pictures[1:], duration=250)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "float32"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
def test_a_wav_of_any_kind_is_the_same_sound(kind: str, rate: int, channels: int) -> None:
    heard = wave(wav(kind, rate, channels))
    assert heard.dtype == np.float32
    assert len(heard) == 16000
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000) * 0.5
    assert np.abs(heard - expected)[500:-500].max() < 0.02


def test_the_rest_of_a_long_sound_is_not_heard() -> None:
    assert len(wave(wav(rate=8000, channels=1, seconds=40))) == 30 * 16000


@pytest.mark.parametrize("data", [wav()[:30], wav(seconds=0), b"RIFF....WAVEnonsense"])
def test_a_broken_wav_is_bad_media(data: bytes) -> None:
    with pytest.raises(BadMedia, match="save it again"):
        wave(data)


def test_four_frames_are_evenly_spread() -> None:
    found = frames(film())
    assert [one.shape for one in found] == [(24, 32, 3)] * 4
    assert [int(one[0, 0, 0]) // 30 for one in found] == [1, 3, 5, 7]
    assert len(frames(film(1))) == 4, "A still is four times itself."


def test_without_ffmpeg_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for read_it in (wave, frames):
        with pytest.raises(BadMedia, match="needs the program ffmpeg"):
            read_it(b"OggS....")


@needs_ffmpeg
def test_ffmpeg_reads_the_rest(tmp_path: Path) -> None:
    for name, source in {"a.avi": film(), "a.flac": wav()}.items():
        (tmp_path / "source").write_bytes(source)
        subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "source", tmp_path / name], check=True)
    found = frames((tmp_path / "a.avi").read_bytes())
    assert [one.shape for one in found] == [(24, 32, 3)] * 4
    assert np.diff([int(one[..., 0].mean()) for one in found]).min() > 30
    heard = wave((tmp_path / "a.flac").read_bytes())
    assert abs(len(heard) - 16000) < 100
    assert 0.3 < float(heard.std()) < 0.4
    with pytest.raises(BadMedia, match="ffmpeg does not know"):
        frames(b"neither film nor picture")


def test_a_cloud_fills_the_unit_ball_around_its_mean() -> None:
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(0).random((9000, 6)).astype(np.float32))
    cloud = read(stream.getvalue())
    assert cloud.shape == (8192, 6)
    assert np.abs(cloud[:, :3].mean(0)).max() < 1e-5
    assert np.sqrt(np.square(cloud[:, :3]).sum(1)).max() == pytest.approx(1, abs=1e-6)
    assert 0 <= cloud[:, 3:].min() < cloud[:, 3:].max() <= 1
