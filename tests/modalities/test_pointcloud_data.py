"""The LEGO datasets: names, split, balance, clouds. Real data, from the shared store."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from modalities.base import Dataset, Sample
from modalities.pointcloud import MODALITY
from modalities.pointcloud.data import ASK, PER_KIND, TYPE_AT_LEAST, Item, captions, cloud, items, ply, questions
from modalities.pointcloud.ldraw import FAMILIES, Library, Record, held_out, stable, stem
from modalities.pointcloud.naming import article, name
from modalities.pointcloud.read import read

NAMED = [
    ("Plate", "Plate 4 x 12", "a red plate, 4 by 12 studs"),
    ("Plate", "Plate 1 x 1 Round", "a red round plate, 1 by 1 stud"),
    ("Plate", "Plate 2 x 2 with 2 Wheel Pins", "a red plate, 2 by 2 studs, with two wheel pins"),
    (
        "Brick",
        "Duplo Brick 2 x 4 x 2 with Curved Top",
        "a red brick, 2 by 4 studs and 2 bricks high, with a curved top",
    ),
    ("Slope", "Slope Brick 45 2 x 1 Double / Inverted", "a red double inverted slope, 2 by 1 studs"),
    ("Technic", "Technic Gear 14 Tooth Bevel", "a red bevel gear with 14 teeth"),
    ("Technic", "Technic Axle 5 with Stop", "a red axle, 5 studs long"),
    ("Technic", "Technic Wedge Belt Wheel", None),
    ("Minifig", "Minifig Hips and Legs (Sitting)", "a pair of red legs"),
    ("Minifig", "Minifig Leg Wooden", "a red leg"),
    ("Plant", "Plant Leaves 6 x 5", "a set of red leaves"),
    ("Minifig Neckwear", "Minifig Armour SW Clone Trooper Pauldron", "a piece of red armour"),
    ("Minifig Accessory", "Minifig Sword Khopesh", "a red sword"),
    ("Animal", "Animal Horse Head", "a red horse head"),
    ("Animal", "Animal Squirrel Standing", "a red standing squirrel"),
    ("Wheel", "Wheel Rim 14 x 30 with 6 Spokes and No Pegholes", "a red wheel with six spokes"),
    ("Propeller", "Propeller 3 Blade 9 Diameter with Technic Peghole", "a red propeller with three blades"),
    ("Window", "Window 1 x 2 x 3 Pane with Thick Corner Tabs", None),
    ("Clikits", "Clikits Disc", None),
]


@pytest.mark.parametrize(("category", "description", "said"), NAMED)
def test_descriptions_become_plain_english(category: str, description: str, said: str | None) -> None:
    found = name(category, description, longest=5.0)
    assert (found.captions("red")[0] if found else None) == said


def test_a_length_is_only_named_when_the_mesh_has_it() -> None:
    bent = name("Technic", "Technic Beam 3 x 3 Liftarm Bent 90", longest=2.9)
    compressed = name("Technic", "Technic Shock Absorber 10L Damped (Compressed)", longest=7.0)
    assert bent is not None
    assert compressed is not None
    assert bent.size == compressed.size == ""


def test_articles_follow_the_sound() -> None:
    assert [article(word) for word in ("arch", "orange arch", "red arch", "unicorn", "axle")] == [
        "an", "an", "a", "a", "an",
    ]  # fmt: skip


def test_every_way_to_say_it_names_the_colour_and_the_thing() -> None:
    found = name("Minifig", "Minifig Hips and Legs", longest=3.0)
    assert found is not None
    ways = found.captions("orange")
    assert len(set(ways)) == len(ways) >= 5
    assert all("orange" in way and "legs" in way for way in ways)
    assert "a pair of legs in orange" in ways


def test_variants_and_equal_shapes_stay_on_one_side_of_the_split() -> None:
    shapes = [(f"{number}{variant}", ("Brick", number % 7, 1, 2)) for number in range(3000, 3050) for variant in "abc"]
    shapes += [(f"{number}x", ("Plate", number, 1, 1)) for number in range(5000, 5100)]
    held = held_out(shapes)
    assert held == held_out(reversed(shapes))
    sides: dict[object, set[bool]] = {}
    for part, shape in shapes:
        for key in (stem(part), shape):
            sides.setdefault(key, set()).add(part in held)
    assert all(len(side) == 1 for side in sides.values())
    assert 0 < len(held) < len(shapes) / 3


def test_stable_numbers_never_change() -> None:
    assert stable("3001") == 11676749038829943734


@pytest.fixture(scope="module")
def library(shared_store: Path) -> Library:
    return Library(shared_store)


@pytest.fixture(scope="module")
def chosen(library: Library) -> list[Item]:
    return items(library.records)


@pytest.fixture(scope="module")
def datasets(shared_store: Path) -> Sequence[Dataset]:
    return MODALITY.datasets(shared_store)


def shape_of(record: Record) -> tuple[object, ...]:
    return (record.category, *sorted(round(side, 1) for side in record.size))


def test_no_shape_and_no_number_is_on_both_sides(library: Library) -> None:
    train = [record for record in library.records if not record.held_out]
    test = [record for record in library.records if record.held_out]
    assert 0.05 < len(test) / len(library.records) < 0.2
    assert not {stem(record.id) for record in train} & {stem(record.id) for record in test}
    assert not {shape_of(record) for record in train} & {shape_of(record) for record in test}


def test_a_missing_record_is_not_read_as_zero(library: Library) -> None:
    by_id = {record.id: record for record in library.records}
    assert by_id["3001"].studs == 8
    assert by_id["3001"].holes == 0
    assert any(record.studs is None and record.holes is None for record in library.records)


def test_the_bricks_do_not_drown_the_rest(chosen: list[Item]) -> None:
    kinds = Counter((item.split, item.name.kind) for item in chosen)
    assert max(count for (split, _), count in kinds.items() if split == "train") == PER_KIND["train"]
    assert sum(count for (split, _), count in kinds.items() if split == "test") >= 350
    assert sum(item.split == "train" for item in chosen) <= 4000


def test_colours_are_spread_evenly_and_told_apart(library: Library, chosen: list[Item]) -> None:
    counts = Counter(item.colour for item in chosen)
    assert set(counts) == set(FAMILIES)
    assert max(counts.values()) < 1.4 * min(counts.values())
    shades = [rgb for family in library.colours.values() for rgb in family]
    assert len(set(shades)) == len(shades)


def test_the_datasets_are_large_enough_and_agree_with_their_files(datasets: Sequence[Dataset]) -> None:
    caption, qa = datasets
    assert (caption.name, caption.task, qa.name, qa.task) == ("ldraw-caption", "caption", "ldraw-qa", "qa")
    assert len(caption.test) >= 300
    assert len(qa.test) >= 600
    assert sum(sample.topic == "type" for sample in qa.test) >= 300
    assert len(caption.train) >= 3000
    for sample in (caption.train[0], qa.test[-1]):
        media, question = sample.prompt
        assert media.modality == "pointcloud"
        assert MODALITY.read(media.data()).shape == (1024, 6)
        assert question.content in ASK[sample.topic]


def test_no_file_is_shared_between_training_and_test(datasets: Sequence[Dataset]) -> None:
    def media(samples: Sequence[Sample]) -> set[object]:
        return {sample.prompt[0].content for sample in samples}

    assert not any(media(one.train) & media(other.test) for one in datasets for other in datasets)


def test_each_caption_has_references_and_reads_as_english(datasets: Sequence[Dataset]) -> None:
    articles = r"\ba [aeio]|\ban [^aeiou]|\b(\w+) \1\b|  "
    jargon = r"[A-Z](?!D model)|[()#~=|/]|\b1 by 1 studs|\bL\b|type \d"
    wrong = re.compile(f"{articles}|{jargon}")
    for sample in (*datasets[0].train, *datasets[0].test):
        assert len(set(sample.answers)) >= 5
        for answer in sample.answers:
            assert not wrong.search(answer.replace("3D model", "model")), answer


def test_yes_is_as_common_as_no_and_types_can_be_learned(datasets: Sequence[Dataset]) -> None:
    qa = datasets[1]
    for samples in (qa.train, qa.test):
        for topic in ("studs", "taller", "hole"):
            counts = Counter(sample.answers for sample in samples if sample.topic == topic)
            assert counts[("yes",)] == counts[("no",)] > 50
    trained = Counter(sample.answers[0] for sample in qa.train if sample.topic == "type")
    asked = Counter(sample.answers[0] for sample in qa.test if sample.topic == "type")
    assert min(trained.values()) >= TYPE_AT_LEAST
    assert set(asked) <= set(trained)
    assert 25 <= len(trained) <= 45
    assert max(asked.values()) < 0.1 * sum(asked.values())


def test_nothing_can_be_guessed_blind(datasets: Sequence[Dataset]) -> None:
    """The best answer to each wording, learned without looking, is right for few."""
    qa = datasets[1]
    heard: dict[object, Counter[str]] = {}
    for sample in qa.train:
        heard.setdefault(sample.prompt[1].content, Counter())[sample.answers[0]] += 1
    right = sum(heard[s.prompt[1].content].most_common(1)[0][0] == s.answers[0] for s in qa.test)
    assert right / len(qa.test) < 0.25


def test_a_rebuilt_cloud_and_its_samples_are_the_same_bit_for_bit(
    library: Library, chosen: list[Item], datasets: Sequence[Dataset]
) -> None:
    files = {sample.prompt[0].content for sample in datasets[0].test}
    folder = next(file.parent for file in files if isinstance(file, Path))
    for item in chosen[::900]:
        assert ply(*cloud(library, item)) == (folder / f"{item.record.id}.ply").read_bytes()
    assert list(captions(chosen)) == list(captions(chosen))
    lines = [(line["id"], line["question"], tuple(line["answers"])) for line in questions(chosen)]
    loaded = [(s.id, str(s.prompt[1].content), s.answers) for s in (*datasets[1].train, *datasets[1].test)]
    assert sorted(lines) == sorted(loaded)


def test_the_cloud_has_the_parts_proportions_and_colour(library: Library, chosen: list[Item]) -> None:
    item = next(item for item in chosen if item.name.kind == "plate" and item.colour == "red")
    seen = read(ply(*cloud(library, item)))
    sides = np.array(item.record.size)
    np.testing.assert_allclose(np.ptp(seen[:, :3], axis=0), 2 * sides / sides.max(), atol=0.06)
    mean = seen[:, 3:].mean(0)
    assert mean[0] > 2 * mean[1]
    assert mean[0] > 2 * mean[2]
