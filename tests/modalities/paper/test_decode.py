"""Sounds and clouds: what the paper's encoders are given."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from scipy.io import wavfile

from modalities.base import BadMedia
from modalities.paper.decode import wave
from modalities.paper.pointcloud import read


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


def encoded(container: str, codec: str, rate: int) -> bytes:
    """A second of the same tone, in stereo, in another format."""
    stream = io.BytesIO()
    tone = (np.sin(2 * np.pi * 440 * np.arange(rate) / rate) * 0.5 * 2**15).astype(np.int16)
    with av.open(stream, "w", format=container) as file:
        track: Any = file.add_stream(codec, rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.repeat(tone, 2)[None], "s16", "stereo")
        frame.sample_rate = rate
        file.mux(track.encode(frame))
        file.mux(track.encode())
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


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [("mp3", "libmp3lame", 44100), ("flac", "flac", 44100), ("ogg", "libopus", 48000), ("mp4", "aac", 44100)],
)
def test_other_formats_are_the_same_sound(container: str, codec: str, rate: int) -> None:
    heard = wave(encoded(container, codec, rate))
    assert abs(len(heard) - 16000) < 1200, "Some codecs add silence at both ends."
    middle = heard[4000:12000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) == pytest.approx(220, abs=1)
    assert middle.std() == pytest.approx(0.5 / 2**0.5, abs=0.02)


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav())
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path / 'a.wav'}\n#EXT-X-ENDLIST\n"
    with pytest.raises(BadMedia, match="cannot be read"):
        wave(playlist.encode())


def test_a_film_without_sound_is_said_to_have_none() -> None:
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as file:
        track = file.add_stream("libx264", rate=8)
        track.width, track.height, track.pix_fmt = 32, 32, "yuv420p"
        file.mux(track.encode(av.VideoFrame.from_ndarray(np.zeros((48, 32), np.uint8), "yuv420p")))
        file.mux(track.encode())
    with pytest.raises(BadMedia, match="no sound"):
        wave(stream.getvalue())


def test_a_cloud_fills_the_unit_ball_around_its_mean() -> None:
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(0).random((9000, 6)).astype(np.float32))
    cloud = read(stream.getvalue())
    assert cloud.shape == (8192, 6)
    assert np.abs(cloud[:, :3].mean(0)).max() < 1e-5
    assert np.sqrt(np.square(cloud[:, :3]).sum(1)).max() == pytest.approx(1, abs=1e-6)
    assert 0 <= cloud[:, 3:].min() < cloud[:, 3:].max() <= 1
