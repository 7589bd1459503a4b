"""Reading videos and encoding their frames."""

import io
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from modalities import base
from modalities.base import BadMedia
from modalities.video import MODALITY
from modalities.video.encoder import VideoEncoder, load
from modalities.video.reading import ENOUGH, read
from tests.modalities.films import CODECS, animated, film

TOKENS, WIDTH = 17, 3 * 1280


def reds(frames: list[NDArray[np.uint8]]) -> list[int]:
    return [int(np.median(frame[len(frame) // 2 :, :, 0])) for frame in frames]


@pytest.mark.parametrize("container", CODECS)
def test_four_frames_of_every_format_are_evenly_spread(container: str) -> None:
    frames = read(film(container))
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 4
    assert frames[0].dtype == np.uint8
    np.testing.assert_allclose(reds(frames), [255 * place // 8 for place in (1, 3, 5, 7)], atol=16)


def test_an_animated_gif_is_a_video_too() -> None:
    np.testing.assert_allclose(reds(read(animated("GIF"))), [31, 95, 159, 223], atol=4)


def test_a_film_with_sound_is_seen_without_it() -> None:
    assert reds(read(film(sound=True))) == reds(read(film()))


def test_a_still_is_four_times_itself() -> None:
    frames = read(film(count=1))
    assert len(frames) == 4
    assert all((frame == frames[0]).all() for frame in frames)


@pytest.mark.parametrize(("rotation", "stripe"), [(90, "left"), (-90, "right"), (180, "bottom")])
def test_a_film_is_turned_as_the_camera_was_held(rotation: int, stripe: str) -> None:
    frame = read(film(rotation=rotation))[0].astype(int)
    assert frame.shape == ((64, 96, 3) if rotation == 180 else (96, 64, 3))
    edges = {"top": frame[:8], "bottom": frame[-8:], "left": frame[:, :8], "right": frame[:, -8:]}
    assert max(edges, key=lambda edge: float(edges[edge][..., 1].mean())) == stripe


@pytest.mark.parametrize("gop", ["12", "9999"])
def test_a_long_film_is_spread_as_evenly_with_many_key_frames_as_with_one(gop: str) -> None:
    frames = read(film(count=1200, size=(32, 32), rate=30, g=gop, preset="ultrafast"))
    np.testing.assert_allclose(reds(frames), [32, 96, 159, 223], atol=14)


def test_more_frames_than_are_kept_are_still_spread() -> None:
    np.testing.assert_allclose(reds(read(film(count=131, size=(32, 32)))), [32, 96, 159, 223], atol=10)


def test_a_large_frame_is_made_smaller_in_its_proportions() -> None:
    assert read(film(count=2, size=(1920, 1080)))[0].shape == (288, ENOUGH, 3)


def sound_only() -> bytes:
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as file:
        track = file.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        file.mux(track.encode(frame))
        file.mux(track.encode())
    return stream.getvalue()


def no_frames() -> bytes:
    """A film of which every frame was lost: the header is whole."""
    whole = film("matroska")
    return whole[: whole.index(b"\x1f\x43\xb6\x75")]  # Matroska's first cluster


BAD = {
    "empty": (b"", "cut short"),
    "prose": (b"Dear Sir or Madam, this is a letter about a film.", "no video"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "no video"),
    "a playlist": (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n#EXT-X-ENDLIST\n", "no video"),
    "a cut-off header": (film()[:300], "cut short"),
    "a film without its index": (film()[:-150], "cut short"),
    "sound only": (sound_only(), "no pictures"),
    "no frames": (no_frames(), "no frame|cut short"),
    "huge frames": (film(count=1, size=(8192, 4320), preset="ultrafast"), "4096 x 2304 at most.*8192 x 4320"),
    "an hour": (film(count=3700, size=(16, 16), rate=1, preset="ultrafast"), "10 minutes, this one lasts 62"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_a_cure_and_no_path(name: str) -> None:
    data, reason = BAD[name]
    with pytest.raises(BadMedia, match=reason) as caught:
        read(data)
    assert "/" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_too_much_work_is_refused_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modalities.video.reading.BUDGET", 10 * 96 * 64)
    read(film(count=10))
    with pytest.raises(BadMedia, match="too long for its size"):
        read(film(count=11))


@pytest.fixture(scope="module")
def encoder(shared_store: Path) -> VideoEncoder:
    return load(shared_store)


def test_the_folder_is_the_registry(encoder: VideoEncoder) -> None:
    assert base.find("video") is MODALITY
    connector = MODALITY.connector(encoder.width, 32)
    tokens = encoder([MODALITY.read(film())])[0]
    assert connector(tokens[None]).shape == (1, TOKENS, 32)


def test_tokens_have_their_shape_and_nothing_can_be_trained(encoder: VideoEncoder) -> None:
    tokens = encoder([read(film()), read(animated("GIF"))])
    assert [one.shape for one in tokens] == [(TOKENS, WIDTH)] * 2
    assert all(one.dtype == torch.float32 and one.isfinite().all() for one in tokens)
    assert encoder.width == WIDTH
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_a_video_is_encoded_alike_alone_and_in_company(encoder: VideoEncoder) -> None:
    videos = [read(film(count=count)) for count in (2, 5, 8)]
    for alone, together in zip(videos, encoder(videos), strict=True):
        torch.testing.assert_close(encoder([alone])[0], together, atol=1e-4, rtol=1e-4)


def test_places_are_those_of_the_pictures_encoder_pooled_and_in_order(encoder: VideoEncoder) -> None:
    frames = read(film())
    glance, *places = encoder([frames])[0]
    for number, frame in enumerate(frames):
        grid = encoder.pictures([frame])[0][1:].view(4, 4, -1)
        corner = grid[:2, :2].mean((0, 1))  # bilinear halving of a square is the mean of each four
        torch.testing.assert_close(places[4 * number][:1280], corner, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(glance, torch.stack(places).mean(0))


def test_what_comes_forwards_goes_backwards(encoder: VideoEncoder) -> None:
    frames = read(film())
    forwards, backwards = encoder([frames, frames[::-1]])
    there, came, went = forwards[0].split(1280)
    torch.testing.assert_close(backwards[0], torch.cat((there, went, came)), atol=1e-4, rtol=1e-4)
    assert (came - went).abs().max() > 1e-3


def test_nothing_comes_or_goes_in_a_still(encoder: VideoEncoder) -> None:
    _, came, went = encoder([read(film(count=1))])[0].split(1280, dim=1)
    assert came.abs().max() == went.abs().max() == 0


def test_the_identity_tells_videos_from_pictures(encoder: VideoEncoder) -> None:
    names = [encoder.pictures.identity, encoder.identity]
    assert all(one != other for one, other in pairwise(names))
    assert "/" not in encoder.identity
