"""Reading sound files and encoding them."""

import io
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from modalities import base
from modalities.audio import MAX_BYTES, MODALITY
from modalities.audio.encoder import TOKENS, WEIGHTS, WIDTH, WINDOW, AudioEncoder, pictures, windows
from modalities.audio.read import LONGEST, read
from modalities.base import BadMedia
from tests.modalities.sounds import encoded, film, tone

Wave = NDArray[np.float32]
RATE = 16_000

FILES = {
    "8-bit WAV": encoded("wav", "pcm_u8", 22_050, "mono"),
    "16-bit WAV": encoded("wav", "pcm_s16le", 16_000, "mono"),
    "stereo WAV": encoded("wav", "pcm_s16le"),
    "24-bit WAV": encoded("wav", "pcm_s24le", 48_000),
    "float WAV": encoded("wav", "pcm_f32le"),
    "telephone WAV": encoded("wav", "pcm_mulaw", 8_000, "mono"),
    "surround WAV": encoded("wav", "pcm_s16le", 48_000, "5.1"),
    "FLAC": encoded("flac", "flac"),
    "96 kHz FLAC": encoded("flac", "flac", 96_000),
    "stereo MP3": encoded("mp3", "libmp3lame"),
    "OGG with Opus": encoded("ogg", "libopus", 48_000),
    "OGG with Vorbis": encoded("ogg", "vorbis"),
    "M4A": encoded("ipod", "aac"),
    "AAC": encoded("adts", "aac"),
    "WebM": encoded("webm", "libopus", 48_000),
    "AIFF": encoded("aiff", "pcm_s16be"),
    "a film's sound track": film(sound=True),
}


def plain_wav(rate: int = RATE, frames: bytes = bytes(2 * RATE)) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(frames)
    return stream.getvalue()


def loudest(heard: Wave) -> float:
    """The frequency, in Hz, that is loudest in the middle half of a sound."""
    middle = heard[len(heard) // 4 : 3 * len(heard) // 4]
    return float(np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax() * RATE / len(middle))


@pytest.mark.parametrize("name", FILES)
def test_every_format_keeps_pitch_and_length(name: str) -> None:
    heard = read(FILES[name])
    assert heard.dtype == np.float32
    assert abs(len(heard) - RATE) < 0.07 * RATE  # some codecs add silence
    assert loudest(heard) == pytest.approx(440, abs=3)
    assert 0.2 < np.abs(heard[RATE // 4 : RATE // 2]).max() < 0.6


def test_sixteen_bits_at_sixteen_kilohertz_come_through_as_they_are() -> None:
    samples = np.random.default_rng(0).integers(-32768, 32767, RATE).astype("<i2")
    np.testing.assert_array_equal(read(plain_wav(frames=samples.tobytes())), samples.astype(np.float32) / 32768)


def test_what_is_too_high_is_filtered_out_and_not_folded_back() -> None:
    heard = read(encoded("wav", "pcm_s16le", wave=tone(44_100, 10_000)))
    assert np.abs(heard[RATE // 4 : 3 * RATE // 4]).max() < 1e-3


def test_of_a_long_sound_the_first_half_minute_is_heard() -> None:
    rising = np.concatenate([tone(8_000, 200, 30), tone(8_000, 2000, 30)])
    heard = read(encoded("mp3", "libmp3lame", 8_000, "mono", wave=rising))
    assert len(heard) == LONGEST
    assert loudest(heard) == pytest.approx(200, abs=3)


def test_silence_and_a_single_sample_are_sounds(encoder: AudioEncoder) -> None:
    for data in (plain_wav(), plain_wav(frames=bytes(2)), encoded("mp3", "libmp3lame", wave=0 * tone(44_100))):
        tokens = encoder([read(data)])[0]
        assert tokens.shape == (TOKENS, WIDTH)
        assert tokens.isfinite().all()


def test_a_file_that_was_cut_off_is_heard_as_far_as_it_goes() -> None:
    for name in ("stereo WAV", "stereo MP3", "FLAC"):
        whole = FILES[name]
        heard = read(whole[: len(whole) // 2])
        assert 0.05 * RATE < len(heard) < 0.8 * RATE


def with_nan() -> bytes:
    broken = tone(44_100)
    broken[1000] = np.nan
    return encoded("wav", "pcm_f32le", wave=broken)


BAD = {
    "empty": (b"", "is empty"),
    "prose": (b"Dear Sir or Madam, this is a letter about a sound." * 20, "no sound file"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "no sound file"),
    "noise": (np.random.default_rng(0).bytes(20_000), "no sound"),
    "zeros": (bytes(5_000), "no sound"),
    "a playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", "no sound file"),
    "a list of files": (b"ffconcat version 1.0\nfile /etc/hostname\n", "no sound file"),
    "a header alone": (plain_wav(frames=b""), "no sound"),
    "a header cut off": (plain_wav()[:20], "no sound file"),
    "a film without sound": (film(sound=False), "no sound track"),
    "a rate that nothing has": (plain_wav(rate=3), "claims 3 samples a second"),
    "NaN": (with_nan(), "no numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_a_cure_and_no_path(name: str) -> None:
    data, reason = BAD[name]
    with pytest.raises(BadMedia, match=reason) as caught:
        read(data)
    assert "/" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "send" in str(caught.value) or "save" in str(caught.value)


def test_a_file_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(BadMedia, match="shorter"):
        read(bytes(MAX_BYTES + 1))


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    return AudioEncoder()


def test_the_folder_is_the_registry(tmp_path: Path) -> None:
    assert base.find("audio") is MODALITY
    encoder = MODALITY.encoder(tmp_path)
    connector = MODALITY.connector(encoder.width, 32)
    tokens = encoder([MODALITY.read(FILES["stereo MP3"])])[0]
    assert connector(tokens[None]).shape == (1, TOKENS, 32)


def test_tokens_have_their_shape_and_nothing_can_be_trained(encoder: AudioEncoder) -> None:
    tokens = encoder([tone(RATE), tone(RATE, seconds=20)])
    assert [one.shape for one in tokens] == [(TOKENS, WIDTH)] * 2
    assert all(one.dtype == torch.float32 and one.isfinite().all() for one in tokens)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_a_sound_is_encoded_alike_alone_and_in_company(encoder: AudioEncoder) -> None:
    waves = [tone(RATE, pitch, seconds) for pitch, seconds in ((300, 1.0), (500, 9.0), (900, 3.84))]
    for alone, together in zip(waves, encoder(waves), strict=True):
        torch.testing.assert_close(encoder([alone])[0], together, atol=1e-4, rtol=1e-4)


def test_loudness_does_not_matter_and_pitch_does(encoder: AudioEncoder) -> None:
    loud, soft, other = encoder([tone(RATE), 0.1 * tone(RATE), tone(RATE, 880)])
    torch.testing.assert_close(loud, soft, atol=2e-2, rtol=2e-2)
    assert (loud - other).abs().mean() > 0.05


def test_windows_cover_a_long_sound_to_its_end() -> None:
    heard = np.arange(2.5 * WINDOW, dtype=np.float32)
    seen = windows(heard)
    assert seen.shape == (3, WINDOW)
    assert seen[0, 0] == heard[0]
    assert seen[-1, -1] == heard[-1]
    assert set(seen.flatten().tolist()) == set(heard.tolist())


def test_a_picture_is_one_where_it_is_loudest_and_zero_in_silence() -> None:
    seen = pictures(windows(tone(RATE)))[0]  # (M, L)
    assert seen.max() == 1
    assert seen[:, 60:].max() == 0
    assert pictures(torch.zeros(1, WINDOW)).max() == 0


def test_the_identity_names_the_weights(encoder: AudioEncoder, tmp_path: Path) -> None:
    other = load_file(WEIGHTS)
    other["registers"] = other["registers"] + 1
    save_file(other, tmp_path / "other.safetensors")
    assert AudioEncoder().identity == encoder.identity
    assert AudioEncoder(tmp_path / "other.safetensors").identity != encoder.identity
    assert "/" not in encoder.identity


def test_the_shipped_weights_are_small() -> None:
    assert WEIGHTS.stat().st_size < 5 * 2**20
    assert {one.dtype for one in load_file(WEIGHTS).values() if one.is_floating_point()} == {torch.float16}
