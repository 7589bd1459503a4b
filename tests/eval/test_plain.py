"""Text-only ability: the backbone's own answers are its reference, and a forced end is no token of theirs."""

import json
from pathlib import Path

import pytest
import torch

from eval.plain import DATA, PROMPTS, TOKENS, Answers, answers_of, file_name, greedy, losses_of, make, measure, save
from modalities.assemble import bare
from modalities.backbone import SMOLLM2
from modalities.checkpoint import Store
from tests import pico

SHIPPED = DATA / file_name(SMOLLM2, "")


def test_there_are_more_than_200_prompts_and_no_two_are_the_same() -> None:
    assert len(PROMPTS) == len(set(PROMPTS)) > 200


def test_the_shipped_answers_are_to_these_prompts_and_end_only_where_the_backbone_ended() -> None:
    shipped = Answers.model_validate_json(SHIPPED.read_bytes())
    assert (shipped.base_llm, shipped.system) == (SMOLLM2, "")
    assert tuple(one.prompt for one in shipped.answers) == PROMPTS
    end = 2
    cut = [one for one in shipped.answers if one.tokens[-1] != end]
    assert cut, "Otherwise nothing was cut, and the claim is empty."
    assert all(len(one.tokens) == TOKENS for one in cut)
    assert not any(end in one.tokens[:-1] for one in shipped.answers)
    assert sum(one.loss for one in shipped.answers) / sum(len(one.tokens) for one in shipped.answers) < 1.0


def test_a_backbone_loses_nothing_of_itself(pico_store: Store) -> None:
    model = bare(pico_store, "pico", None)
    made = make(pico_store, "pico", None)
    again = losses_of(model, [(one.prompt, one.tokens) for one in made.answers])
    assert again == pytest.approx([one.loss for one in made.answers], abs=1e-4)


def test_greedy_answers_and_losses_are_those_of_one_prompt_alone(pico_store: Store) -> None:
    model = bare(pico_store, "pico", None)
    prompts = PROMPTS[:12]
    together = greedy(model, prompts)
    assert together == [greedy(model, [one])[0] for one in prompts]
    asked = [*model.embedder.before, *model.embedder.ids(prompts[0]), *model.embedder.after]
    with torch.inference_mode():
        ids = torch.tensor([[*asked, *together[0]]])
        log = model.llm(input_ids=ids).logits[0].float().log_softmax(-1)
    places = range(len(asked), ids.shape[1])
    assert [int(log[place - 1].argmax()) for place in places] == list(together[0])
    alone = -sum(float(log[place - 1, ids[0, place]]) for place in places)
    pairs = list(zip(prompts, together, strict=True))
    assert losses_of(model, pairs)[0] == pytest.approx(alone, abs=1e-3)


def test_an_answer_ends_with_the_token_that_ended_it(pico_store: Store) -> None:
    model = bare(pico_store, "pico", None)
    long = greedy(model, PROMPTS[:1])[0]
    model.llm.generation_config.eos_token_id = long[3]
    short = greedy(model, PROMPTS[:1])[0]
    assert short == long[: long.index(long[3]) + 1]


def test_other_weights_say_it_less_surely_and_are_measured_once(pico_store: Store, tmp_path: Path) -> None:
    checkpoint = pico_store.load(pico.checkpoint(pico_store, 2).id)
    folder = tmp_path / "said"
    said = measure(pico_store, checkpoint, folder)
    assert [one.prompt for one in said] == list(PROMPTS)
    assert sum(one.loss for one in said) > sum(one.reference for one in said)
    kept = pico_store.root / "plain" / file_name("pico", None)
    assert kept.is_file()
    (file,) = folder.iterdir()
    written = file.stat().st_mtime_ns
    assert measure(pico_store, checkpoint, folder) == said
    assert file.stat().st_mtime_ns == written


def test_answers_to_other_prompts_are_made_anew(pico_store: Store) -> None:
    kept = pico_store.root / "plain" / file_name("pico", None)
    stale = Answers.model_validate_json(SHIPPED.read_bytes())
    save(kept, stale.model_copy(update={"answers": stale.answers[1:]}))
    assert tuple(one.prompt for one in answers_of(pico_store, "pico", None).answers) == PROMPTS
    assert json.loads(kept.read_text())["base_llm"] == "pico"
