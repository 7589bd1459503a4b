"""Sound files over HTTP: the routes know no sound, a real server answers about one all the same."""

import base64
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types.chat.chat_completion_content_part_input_audio_param import InputAudio

from modalities.checkpoint import Store
from tests import pico
from tests.modalities.sounds import encoded, film
from tests.serving.running import Running, serve


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    store = Store(tmp_path_factory.mktemp("sounds"))
    pico.backbone(store.assets / "pico")
    store.set_live(pico.checkpoint(store, 1, ("audio",)).id)
    with serve(store, store.live()) as running:
        yield running


FILES = {
    "8-bit WAV": encoded("wav", "pcm_u8", 11_025, "mono"),
    "stereo 44.1 kHz MP3": encoded("mp3", "libmp3lame"),
    "FLAC": encoded("flac", "flac"),
    "M4A": encoded("ipod", "aac"),
    "MP4 with sound": film(sound=True),
}


@pytest.mark.parametrize("name", FILES)
def test_a_sound_file_is_answered(server: Running, name: str) -> None:
    reply = server.ask({"audio": base64.b64encode(FILES[name]).decode()}, {"text": "What do you hear?"}, max_tokens=4)
    assert reply.status_code == 200, reply.text
    assert reply.json()["usage"]["media_tokens"] == {"audio": 13}


@pytest.mark.parametrize("data", [b"no sound at all", film(sound=False), FILES["FLAC"][:30]])
def test_what_is_no_sound_is_refused_with_a_cure(server: Running, data: bytes) -> None:
    reply = server.ask({"audio": base64.b64encode(data).decode()}, {"text": "What do you hear?"})
    assert reply.status_code == 422
    assert "send a WAV, FLAC, MP3, OGG or M4A file" in reply.text
    assert str(Path.cwd()) not in reply.text


def test_the_openai_client_sends_a_sound_as_it_is_used_to(server: Running) -> None:
    sound: InputAudio = {"data": base64.b64encode(FILES["stereo 44.1 kHz MP3"]).decode(), "format": "mp3"}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="polymera",
            max_tokens=4,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_audio", "input_audio": sound},
                        {"type": "text", "text": "What do you hear?"},
                    ],
                }
            ],
        )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 13


def test_the_list_of_senses_says_which_files_are_taken(server: Running) -> None:
    listed = server.http.get("/modalities").text
    assert all(suffix in listed for suffix in (".wav", ".mp3", ".flac", ".ogg", ".m4a"))
