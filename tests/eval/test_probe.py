"""The linear probe: it reads what the features hold, and nothing where they hold nothing."""

import random
from dataclasses import replace

import pytest

from eval import EvalError
from eval.probe import probe, probe_all, topics
from modalities.base import Dataset
from modalities.checkpoint import Store
from modalities.userdata import datasets
from tests.toy.tone import MODALITY as TONE


def test_a_probe_reads_the_pitch_from_a_spectrum(pico_store: Store) -> None:
    made = probe(pico_store, TONE, list(TONE.datasets(pico_store.root)), "pitch")
    assert (made.modality, made.topic, made.n) == ("tone", "pitch", 24)
    assert made.accuracy == 1.0
    assert made.majority == pytest.approx(1 / 3)


def test_a_probe_reads_nothing_from_labels_drawn_by_lot(pico_store: Store) -> None:
    draw = random.Random(0)

    def shuffled(one: Dataset) -> Dataset:
        lots = [replace(sample, answers=(draw.choice(["low", "middle", "high"]),)) for sample in one.train]
        return replace(one, train=tuple(lots))

    made = probe(pico_store, TONE, [shuffled(one) for one in TONE.datasets(pico_store.root)], "pitch")
    assert made.accuracy < 0.8


def test_a_probe_is_judged_like_the_model(pico_store: Store) -> None:
    captions, questions = TONE.datasets(pico_store.root)
    written = {"low": "The Low", "middle": "Middle.", "high": "a high"}
    test = tuple(replace(one, answers=("other", written[one.answers[0]])) for one in questions.test)
    made = probe(pico_store, TONE, [captions, replace(questions, test=test)], "pitch")
    assert made.accuracy == 1.0


def test_every_kind_of_question_of_a_checkpoint_is_probed(pico_store: Store) -> None:
    manifest = pico_store.manifest(str(pico_store.live()))
    known = datasets(pico_store, manifest)
    assert topics(known["tone"]) == ["pitch"]
    assert [one.topic for one in probe_all(pico_store, manifest, known)] == ["pitch"]


def test_a_question_that_nobody_asks_is_refused_with_those_that_there_are(pico_store: Store) -> None:
    with pytest.raises(EvalError, match="tone has no questions on 'smell' that a probe can learn; it has: pitch"):
        probe(pico_store, TONE, list(TONE.datasets(pico_store.root)), "smell")


def test_a_question_with_another_answer_each_time_is_nothing_to_learn(pico_store: Store) -> None:
    captions, questions = TONE.datasets(pico_store.root)
    train = tuple(replace(one, answers=(one.id,)) for one in questions.train)
    assert topics([captions, replace(questions, train=train)]) == []


def test_a_question_with_one_answer_only_is_nothing_to_learn(pico_store: Store) -> None:
    captions, questions = TONE.datasets(pico_store.root)
    same = tuple(replace(one, answers=("low",)) for one in questions.train)
    with pytest.raises(EvalError, match="it has: none"):
        probe(pico_store, TONE, [captions, replace(questions, train=same)], "pitch")
