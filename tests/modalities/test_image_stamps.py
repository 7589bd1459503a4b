"""Photographs: Tux Paint's stamps with their people's captions. Real data, from the shared store."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest

from modalities.assets import AssetError, fetch
from modalities.base import Dataset
from modalities.image import MODALITY
from modalities.image.concepts import concepts
from modalities.image.pictures import SIDE
from modalities.image.stamps import FORMS, ROOT, VERSION, Stamp, draw, load, make, stamps
from modalities.packages import TUXPAINT_STAMPS


@pytest.fixture(scope="module")
def root(shared_store: Path) -> Path:
    return fetch(shared_store, TUXPAINT_STAMPS) / ROOT


@pytest.fixture(scope="module")
def known(root: Path) -> list[Stamp]:
    return stamps(root)


@pytest.fixture(scope="module")
def datasets(shared_store: Path) -> Sequence[Dataset]:
    return load(shared_store)


def test_a_photograph_has_its_peoples_name_and_a_kind_of_ours(known: list[Stamp]) -> None:
    by_path = {stamp.path.stem: stamp for stamp in known}
    heron = by_path["heron_greatblue"]
    assert (heron.name, heron.kind) == ("a great blue heron", "bird")
    assert by_path["football"].name == "an American football"
    assert "fountain" not in by_path, "a drawing"
    assert {stamp.kind for stamp in known} <= {concept.kind for concept in concepts()}
    assert len(known) > 200
    assert not [stamp.name for stamp in known if not re.fullmatch(r"an? [A-Za-z' -]+", stamp.name)]


def test_two_photographs_of_one_thing_stay_on_one_side(known: list[Stamp]) -> None:
    sides: dict[tuple[str, str], set[bool]] = {}
    for stamp in known:
        sides.setdefault((stamp.kind, re.split(r"[\d_-]", stamp.path.stem)[0]), set()).add(stamp.held_out)
    assert all(len(side) == 1 for side in sides.values())
    assert 0.15 < sum(stamp.held_out for stamp in known) / len(known) < 0.3


def test_the_datasets_are_the_pictures_second_source(shared_store: Path, datasets: Sequence[Dataset]) -> None:
    assert [(one.name, one.task) for one in datasets] == [("stamps-caption", "caption"), ("stamps-qa", "qa")]
    names = [one.name for one in MODALITY.datasets(shared_store)]
    assert names == ["emoji-caption", "emoji-qa", "stamps-caption", "stamps-qa"]
    caption, qa = datasets
    assert len(caption.train) >= 450
    assert len(caption.test) >= 40
    assert {sample.topic for sample in qa.test} == {"photo kind", "photo identity"}
    assert all(len(set(sample.answers)) == len(FORMS) for sample in (*caption.train, *caption.test))
    assert all(sample.answers[0].startswith(("a photo", "a picture", "a close-up")) for sample in caption.train)


def test_the_most_common_answer_is_a_bad_guess(datasets: Sequence[Dataset]) -> None:
    for samples in (datasets[1].train, datasets[1].test):
        for topic, most in {"photo kind": 0.4, "photo identity": 0.53}.items():
            counted = Counter(sample.answers[0] for sample in samples if sample.topic == topic)
            assert counted.most_common(1)[0][1] <= most * counted.total()


def test_a_kind_that_is_asked_for_has_been_seen(datasets: Sequence[Dataset]) -> None:
    asked, trained = (
        {sample.answers[0] for sample in half if sample.topic == "photo kind"}
        for half in (datasets[1].test, datasets[1].train)
    )
    assert asked <= trained


def test_pictures_are_drawn_again_bit_for_bit(root: Path, shared_store: Path, tmp_path: Path) -> None:
    load(shared_store)
    make(root, tmp_path)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        kept = shared_store / "data" / VERSION / path.relative_to(tmp_path)
        assert path.read_bytes() == kept.read_bytes(), path.name


def test_the_pictures_are_the_same_everywhere(datasets: Sequence[Dataset]) -> None:
    digest = hashlib.sha256()
    for sample in datasets[0].test:
        path = sample.prompt[0].content
        assert isinstance(path, Path)
        digest.update(MODALITY.read(path.read_bytes()).tobytes())
    assert digest.hexdigest() == "bbb4db07b416853fac86c11807b17be0cd9cbe01884c67b20feeb21ff4a1281d"


def test_a_stamp_fills_the_picture(known: list[Stamp]) -> None:
    for mirrored in (True, False):
        pixels = np.asarray(draw(known[0], Random(0), mirrored=mirrored))
        assert pixels.shape == (SIDE, SIDE, 3)
        places = np.argwhere((pixels != pixels[0, 0]).any(-1))
        assert 190 < np.ptp(places, axis=0).max() < 255


def test_without_the_package_pictures_do_without_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: object) -> Path:
        raise AssetError("tuxpaint-stamps-default needs the program apt-get; install it")

    monkeypatch.setattr("modalities.image.stamps.fetch", none)
    assert load(tmp_path) == []
    assert "Pictures do without photographs: tuxpaint-stamps-default needs" in capsys.readouterr().err
