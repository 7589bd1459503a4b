"""The model's parts: how prompts become embeddings, how samples share rows, what the cache keeps."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from modalities.assemble import assemble, common, senses
from modalities.base import TEXT, BadMedia, Part, Sample, UnknownModality, builtin, find
from modalities.checkpoint import Store
from modalities.connectors import MLP
from modalities.embedder import PromptTooLong
from modalities.features import Features
from modalities.mllm import IGNORED, MLLM
from tests import pico


@pytest.fixture
def model(pico_store: Store) -> MLLM:
    return assemble(pico_store, pico_store.load(str(pico_store.live())))


def ask(seed: int, question: str, answer: str, name: str = "tone") -> Sample:
    return Sample(f"{seed}", "qa", (Part(name, pico.tone(seed)), Part("text", question)), (answer,))


SAMPLES = [ask(0, "What do you hear?", "a soft low tone"), ask(0, "How high?", "low"), ask(1, "How high?", "middle")]


def test_samples_about_one_file_share_a_row_and_lose_nothing(model: MLLM) -> None:
    assert len(model.rows(SAMPLES)) == 2
    alone = torch.stack([model.loss([sample]) for sample in SAMPLES])
    torch.testing.assert_close(model.loss(SAMPLES), alone.mean())


def test_a_long_answer_counts_as_much_as_a_short_one(model: MLLM) -> None:
    """The loss of one sample is the mean over its tokens, as the backbone itself computes it."""
    for sample in SAMPLES:
        row = model.rows([sample])[0]
        embeds, mask, positions, labels, _ = model._batch([row])
        logits = model.llm(inputs_embeds=embeds, attention_mask=mask, position_ids=positions).logits
        wanted = torch.nn.functional.cross_entropy(logits[0], labels[0], ignore_index=IGNORED)
        torch.testing.assert_close(model.loss([sample]), wanted)


def test_gradients_of_a_shared_row_equal_those_of_single_rows(model: MLLM) -> None:
    connector = model.embedder.connectors["tone"].requires_grad_(True)
    model.loss(SAMPLES[:2]).backward()
    shared = [parameter.grad.clone() for parameter in connector.parameters() if parameter.grad is not None]
    connector.zero_grad()
    torch.stack([model.loss([sample]) for sample in SAMPLES[:2]]).mean().backward()
    single = [parameter.grad for parameter in connector.parameters()]
    torch.testing.assert_close(shared, single, rtol=1e-4, atol=1e-6)


def test_only_answer_tokens_are_learned(model: MLLM) -> None:
    row = model.rows(SAMPLES[1:2])[0]
    learned = [label for label in row.labels if label != IGNORED]
    assert model.embedder.tokenizer.decode(learned) == "low<|im_end|>"


def test_training_and_serving_see_the_same_prompt(model: MLLM) -> None:
    """The first answer token's logits are the same from a training row and from `embed`."""
    sample = SAMPLES[1]
    row = model.rows([sample])[0]
    embeds, mask, positions, labels, _ = model._batch([row])
    first = (labels[0] != IGNORED).nonzero()[0, 0]
    with torch.no_grad():
        out = model.llm(inputs_embeds=embeds, attention_mask=mask, position_ids=positions).logits[0, first]
        served = model.llm(inputs_embeds=model.embedder.embed(sample.prompt).embeds[None]).logits[0, -1]
    torch.testing.assert_close(out, served, rtol=1e-4, atol=1e-4)


def test_many_questions_about_one_file_spill_into_another_row(model: MLLM) -> None:
    rows = model.rows([ask(0, f"Question {number}, long enough to fill the row soon?", "yes") for number in range(40)])
    assert len(rows) > 1
    assert max(len(row.ids) for row in rows) <= 512


def test_text_alone_shares_no_row(model: MLLM) -> None:
    asked = [Sample(str(number), "qa", (Part(TEXT, f"Question {number}?"),), ("yes",)) for number in range(3)]
    assert len(model.rows(asked)) == 3


def test_media_and_text_are_counted_and_in_order(model: MLLM) -> None:
    parts = [Part("text", "First: "), Part("tone", pico.tone(0)), Part("text", " or "), Part("tone", pico.tone(1))]
    embedded = model.embedder.embed(parts)
    assert embedded.media_tokens == {"tone": 8}
    assert embedded.embeds.shape == (embedded.text_tokens + 8, model.embedder.width)
    swapped = model.embedder.embed([parts[0], parts[3], parts[2], parts[1]])
    assert not torch.equal(embedded.embeds, swapped.embeds)


def test_a_special_token_typed_as_text_stays_text(model: MLLM) -> None:
    end = model.embedder.tokenizer.eos_token_id
    assert end not in model.embedder.ids("<|im_end|> stop")


def test_prompts_that_are_read_at_the_same_time_do_not_change_each_other(model: MLLM) -> None:
    """A fast tokenizer keeps whether it splits special tokens as a state: the template's are not, a user's are."""
    prompt = [Part("text", "<|im_start|>What do you hear?<|im_end|>" * 4)]
    alone = model.embedder.embed(prompt).embeds
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda _: model.embedder.embed(prompt).embeds, range(2000))
        assert sum(not torch.equal(one, alone) for one in together) == 0


def test_a_prompt_beyond_the_context_is_refused_with_its_length(model: MLLM) -> None:
    with pytest.raises(PromptTooLong, match="at most; shorten"):
        model.embedder.embed([Part("text", "tone " * 600)])


def test_a_modality_not_learned_is_refused_with_those_that_are(model: MLLM) -> None:
    with pytest.raises(UnknownModality, match="it knows text and tone"):
        model.embedder.embed([Part("pulse", pico.tone(0))])


def test_a_file_is_encoded_once_and_found_by_content(model: MLLM, tmp_path: Path) -> None:
    modality, encoder = find("tests.toy.tone"), model.embedder.encoder("tone")
    cache = Features(tmp_path / "cache")
    first = cache.get(modality, encoder, Part("tone", pico.tone(0)))
    (tmp_path / "copy.tone").write_bytes(pico.tone(0))
    assert torch.equal(Features(tmp_path / "cache").get(modality, encoder, Part("tone", tmp_path / "copy.tone")), first)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1
    encoder.identity = "spectrum-another"
    cache.get(modality, encoder, Part("tone", pico.tone(0)))
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 2, (
        "Another encoder never reads this one's features."
    )


def test_memory_holds_no_more_than_its_room(model: MLLM) -> None:
    cache = Features(room=3)
    for seed in range(6):
        cache.get(find("tests.toy.tone"), model.embedder.encoder("tone"), Part("tone", pico.tone(seed)))
    assert len(cache._memory) == 3


@torch.no_grad()
def test_what_a_connector_made_is_kept_for_serving_and_not_for_training(pico_store: Store) -> None:
    manifest = pico_store.load(str(pico_store.live()))
    shared, features = common(pico_store, manifest.base_llm), Features()
    serving = senses(pico_store, manifest, shared, features, recent=2)
    training = senses(pico_store, manifest, shared, features)
    prompt = [Part("tone", pico.tone(0)), Part("text", "How high?")]
    first = [embedder.embed(prompt).embeds for embedder in (serving, training)]
    assert torch.equal(*first)
    for embedder in (serving, training):
        for weight in embedder.connectors.parameters():
            weight.zero_()
    assert torch.equal(serving.embed(prompt).embeds, first[0])
    assert not torch.equal(training.embed(prompt).embeds, first[1])
    for seed in (1, 2):  # its room is two files
        serving.embed([Part("tone", pico.tone(seed))])
    assert torch.equal(serving.embed(prompt).embeds, training.embed(prompt).embeds)


def test_checkpoints_on_one_backbone_share_tokenizer_and_encoders(pico_store: Store) -> None:
    manifest = pico_store.load(str(pico_store.live()))
    shared = common(pico_store, manifest.base_llm)
    one, other = (senses(pico_store, manifest, shared, Features()) for _ in range(2))
    assert one.tokenizer is other.tokenizer
    assert one.encoder("tone") is other.encoder("tone")
    assert one.connectors["tone"] is not other.connectors["tone"]


def test_unreadable_media_reach_neither_encoder_nor_cache(model: MLLM, tmp_path: Path) -> None:
    cache = Features(tmp_path / "cache")
    with pytest.raises(BadMedia, match=r"not a \.tone file"):
        cache.get(find("tests.toy.tone"), model.embedder.encoder("tone"), Part("tone", b"hello"))
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_calibrated_connector_standardises_and_speaks_as_loud_as_words() -> None:
    torch.manual_seed(0)
    features = torch.randn(500, 8) * torch.arange(1, 9) + 5
    connector = MLP(8, 16)
    connector.calibrate(features, scale=0.1)
    torch.testing.assert_close(connector.mean, features.mean(0))
    assert connector(features[None]).std().item() == pytest.approx(0.1, rel=0.05)


def test_a_connector_drops_features_only_while_it_is_trained(model: MLLM) -> None:
    torch.manual_seed(0)
    connector = MLP(8, 16, dropout=0.5)
    features = torch.randn(1, 4, 8)
    assert not connector(features).equal(connector(features))
    model.embedder.add(find("tests.toy.tone"), connector)
    assert connector(features).equal(connector(features))


@pytest.mark.parametrize("name", ["nowhere", "no_such.package", "../image", "json", "", "base"])
def test_a_name_without_a_modality_is_refused_with_the_cure(name: str) -> None:
    with pytest.raises(UnknownModality, match="known:|MODALITY|module name"):
        find(name)


def test_the_folder_is_the_registry() -> None:
    assert [find(name).name for name in builtin()] == builtin()
    assert find("tests.toy.tone").name == "tone"
