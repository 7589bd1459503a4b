"""What datasets hold: the figures, the samples, and what is said of a build that differs."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eval.__main__ import app
from eval.data import contents, statistics, text
from modalities import benchmark
from modalities.base import Dataset, Part, Sample, UnknownModality
from modalities.benchmark import Benchmark, pin

ONE = Part("tone", b"0")
ASKED = [("high", "What is it?"), ("low", "What is it?"), ("high", "What is it?"), ("high", "How high is it now?")]
SAMPLES = tuple(
    Sample(str(place), "qa", (ONE, Part("text", question)), (answer,), "pitch")
    for place, (answer, question) in enumerate(ASKED)
)


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(benchmark, "HERE", tmp_path)
    pin(Benchmark("toys", "toys-1", ("tests.toy.tone", "tests.toy.pulse"), {}), {})
    return tmp_path / "store"


def test_a_topic_says_how_one_sided_it_is() -> None:
    made = statistics("tone", Dataset("d", "qa", SAMPLES[:1], SAMPLES))
    (topic,) = made.topics
    assert (made.train, made.test, made.media) == (1, 4, (1, 1))
    assert (topic.train, topic.test, topic.answers) == (1, 4, 2)
    assert (topic.majority, topic.commonest) == (0.75, "high")
    assert (topic.templates, topic.template) == (2, 0.8)


def test_a_modality_has_statistics_and_samples_drawn_by_seed(tmp_path: Path) -> None:
    made = contents(tmp_path, "tests.toy.tone", samples=2)
    assert [one.dataset for one in made.datasets] == ["tone-caption", "tone-qa"]
    assert [len(one.samples) for one in made.datasets] == [2, 2]
    assert made == contents(tmp_path, "tests.toy.tone", samples=2)
    assert made.datasets != contents(tmp_path, "tests.toy.tone", samples=2, seed=1).datasets
    assert "tone-qa (tone, qa): 48 train, 24 test samples" in text(made)
    with pytest.raises(UnknownModality, match="No modality 'nothing'"):
        contents(tmp_path, "nothing")


def test_a_build_that_differs_ends_with_1_and_names_the_dataset(toys: Path) -> None:
    command = ["data", "toys", "--store", str(toys), "--samples", "1", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert re.search("not what others measure on: mixed-qa, .*tone-qa", done.stderr)
    assert CliRunner().invoke(app, [*command, "--pin"]).exit_code == 0
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["version"] == "toys-1"
    (toys / "data" / "pulse-1" / "071.pulse").write_bytes(b"1")
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "on: mixed-qa, pulse-caption, pulse-qa." in done.stderr
