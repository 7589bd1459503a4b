"""Benchmarks: a hash sees every change, and the one that ships is what its file says. Real data: the shared store's."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from modalities import benchmark
from modalities.base import Dataset, Part, Sample, UnknownModality, find
from modalities.benchmark import Benchmark, choice_file, choices_differ, differing, digests, load, names, pin, read
from modalities.mixed import SIZES

TOYS = Benchmark("toys", "toys-1", ("tests.toy.tone", "tests.toy.pulse"), {})


def test_senses_4_has_four_modalities_and_a_hash_for_each_dataset() -> None:
    assert "senses-4" in names()
    found = read("senses-4")
    assert len(found.modalities) == 4
    assert all(len(value) == 64 for value in found.sha256.values())
    assert "mixed-qa" in found.sha256
    with pytest.raises(UnknownModality, match="there is: senses-4"):
        read("senses-9")


def test_the_same_data_give_the_same_hashes_and_any_change_another(tmp_path: Path) -> None:
    first, again = (digests(load(tmp_path / name, TOYS)) for name in ("a", "b"))
    assert first == again
    assert set(first) == {"tone-caption", "tone-qa", "pulse-caption", "pulse-qa", "mixed-qa"}
    (tmp_path / "b" / "data" / "tone-1" / "000.tone").write_bytes(b"0")
    changed = digests(load(tmp_path / "b", TOYS))
    assert differing(replace(TOYS, sha256=first), changed) == ["mixed-qa", "tone-caption", "tone-qa"]
    del changed["pulse-qa"]
    assert "pulse-qa" in differing(replace(TOYS, sha256=first), changed)


@pytest.mark.parametrize(
    "changes",
    [{"id": "other"}, {"answers": ("b",)}, {"topic": "t"}, {"whole": False}, {"prompt": (Part("tone", b"1"),)}],
)
def test_a_hash_is_over_all_of_a_sample(changes: dict[str, object]) -> None:
    sample = Sample("1", "qa", (Part("tone", b"0"), Part("text", "What?")), ("a",))

    def digest(samples: Sequence[Sample]) -> str:
        return digests({"tone": [Dataset("d", "qa", tuple(samples), ())]})["d"]

    assert digest([sample]) == digest([sample])
    assert digest([sample]) != digest([replace(sample, **changes)])  # type: ignore[arg-type]


def test_hashes_are_pinned_in_the_benchmarks_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "HERE", tmp_path)
    pin(TOYS, {"tone-qa": "0"})
    assert names() == ["toys"]
    assert read("toys") == replace(TOYS, sha256={"tone-qa": "0"})


def test_the_questions_over_several_become_a_file_of_choices(tmp_path: Path) -> None:
    path = choice_file(tmp_path, TOYS)
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(lines) == SIZES["test"][2]
    for line in lines:
        files = [tmp_path / "data" / file for part in line["media"] for file in part.values()]
        assert len(files) == 2
        assert all(file.is_file() for file in files)
        assert line["kind"] in ("which", "share")
    assert choice_file(tmp_path, TOYS) == path
    assert choices_differ(tmp_path, TOYS)
    found = digests(load(tmp_path, TOYS))
    assert not choices_differ(tmp_path, replace(TOYS, sha256=found))
    assert choices_differ(tmp_path, replace(TOYS, sha256=found | {"mixed-qa": found["tone-qa"][::-1]}))


def test_senses_4_is_what_its_file_says(shared_store: Path) -> None:
    found = read("senses-4")
    assert differing(found, digests(load(shared_store, found))) == []
    assert [find(name).name for name in found.modalities] == list(found.modalities)
