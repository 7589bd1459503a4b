"""The OpenAI routes, called by the real `openai` client over a real server with the pico model."""

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from modalities.checkpoint import Store
from tests import pico
from tests.serving.running import Running, serve, text, tone

TONE: dict[str, Any] = {"type": "tone", "tone": {"data": base64.b64encode(pico.tone(1)).decode()}}
ASK = {"type": "text", "text": "What do you hear?"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = pico.store(tmp_path_factory.mktemp("store"))
    pico.checkpoint(made, 2)
    return made


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[Running]:
    with serve(store, store.ids()[0]) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def chat(client: openai.OpenAI, *content: Any, **options: Any) -> Any:
    messages: Any = [{"role": "user", "content": list(content)}]
    return client.chat.completions.create(model="polymera", messages=messages, **options)


def test_it_answers_as_generate_does_and_says_what_it_cost(server: Running, client: openai.OpenAI) -> None:
    plain = server.ask(tone(1), text(), max_tokens=12).json()
    answer = chat(client, TONE, ASK, max_tokens=12)
    assert answer.choices[0].message.content == plain["text"]
    assert answer.choices[0].finish_reason == plain["finish_reason"]
    assert answer.model == answer.system_fingerprint == plain["checkpoint"]
    assert answer.usage.prompt_tokens == plain["usage"]["prompt_tokens"]
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    details = answer.usage.prompt_tokens_details.model_extra
    assert details == {"tone_tokens": plain["usage"]["media_tokens"]["tone"]}


def test_a_stream_says_the_same_piece_by_piece(client: openai.OpenAI) -> None:
    whole = chat(client, TONE, ASK, max_tokens=12)
    pieces = list(chat(client, TONE, ASK, max_tokens=12, stream=True, stream_options={"include_usage": True}))
    assert pieces[0].choices[0].delta.role == "assistant"
    said = "".join(choice.delta.content or "" for piece in pieces for choice in piece.choices)
    assert said == whole.choices[0].message.content
    assert [c.finish_reason for piece in pieces for c in piece.choices if c.finish_reason] == ["length"]
    assert pieces[-1].usage == whole.usage
    assert {piece.system_fingerprint for piece in pieces} == {whole.model}


def test_stop_seed_and_max_tokens_do_what_they_say(client: openai.OpenAI) -> None:
    greedy = chat(client, ASK, max_tokens=12).choices[0].message.content
    assert len(greedy) > 4
    cut = chat(client, ASK, max_tokens=12, stop=greedy[3]).choices[0]
    assert cut.message.content == greedy[: greedy.index(greedy[3])]
    assert cut.finish_reason == "stop"
    wild = [chat(client, ASK, max_tokens=24, temperature=2, seed=seed).choices[0].message.content for seed in (1, 1, 2)]
    assert wild[0] == wild[1] != wild[2]
    assert chat(client, ASK, max_completion_tokens=3).usage.completion_tokens == 3


def test_a_conversation_has_a_system_message_and_turns(server: Running, client: openai.OpenAI) -> None:
    def ask(*messages: tuple[str, Any]) -> Any:
        told: Any = [{"role": role, "content": content} for role, content in messages]
        return client.chat.completions.create(model="polymera", messages=told, max_tokens=8)

    alone = ask(("user", "What do you hear?"))
    plain = server.ask(text(), max_tokens=8).json()
    assert alone.choices[0].message.content == plain["text"]
    longer = ask(("system", "soft"), ("user", [TONE]), ("assistant", "a loud high tone"), ("user", "How high is it?"))
    assert longer.usage.prompt_tokens > alone.usage.prompt_tokens
    assert longer.usage.prompt_tokens_details.model_extra["tone_tokens"] > 0


def test_models_lists_the_live_one_first(client: openai.OpenAI, store: Store) -> None:
    listed = list(client.models.list())
    assert [one.id for one in listed] == store.ids()
    assert [(one.model_extra or {})["live"] for one in listed] == [True, False]


def test_a_checkpoint_is_pinned_while_it_is_resident(client: openai.OpenAI, store: Store) -> None:
    live, other = store.ids()
    messages: Any = [{"role": "user", "content": "What do you hear?"}]
    assert client.chat.completions.create(model=live, messages=messages, max_tokens=2).model == live
    with pytest.raises(openai.NotFoundError, match=live):
        client.chat.completions.create(model=other, messages=messages)


@pytest.mark.parametrize(
    ("content", "options", "cure"),
    [
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}], {}, "not learned 'image'"),
        ([{"type": "tone", "tone": {"data": "%%%"}}], {}, "not base64"),
        ([{"type": "tone_url", "tone_url": {"url": "ftp://example.org/a.tone"}}], {}, "fetches nothing"),
        ([{"type": "tone"}], {}, "a part is"),
        ([ASK], {"n": 2}, "n: "),
        ([ASK], {"top_p": 0.5}, "top_p"),
        ([ASK], {"stop": ["a"] * 9}, "stop"),
        ([ASK], {"max_tokens": 0}, "max_tokens"),
    ],
)
def test_what_cannot_be_done_is_said_in_openais_form(
    client: openai.OpenAI, content: list[Any], options: dict[str, Any], cure: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=cure) as raised:
        chat(client, *content, **options)
    assert raised.value.type == "invalid_request_error"
    assert chat(client, ASK, max_tokens=2).choices[0].message.content is not None


def test_neutral_and_ignored_parameters_are_taken(client: openai.OpenAI) -> None:
    answer = chat(client, ASK, max_tokens=2, n=1, top_p=1, presence_penalty=0, user="somebody")
    assert answer.usage.completion_tokens == 2


def test_an_answer_that_is_not_whole_in_time_is_given_up(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="not whole within") as raised:
        chat(client, ASK, extra_body={"timeout": 1e-4})
    assert raised.value.status_code == 504


def test_messages_must_make_sense(client: openai.OpenAI) -> None:
    wrong: list[Any] = [
        [{"role": "assistant", "content": "a"}],
        [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}],
        [{"role": "system", "content": [TONE]}, {"role": "user", "content": "a"}],
        [],
    ]
    for messages in wrong:
        with pytest.raises(openai.BadRequestError, match="messages"):
            client.chat.completions.create(model="polymera", messages=messages)
