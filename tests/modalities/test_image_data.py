"""The emoji datasets: English that is right, a split that does not leak, answers that cannot be guessed."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from modalities import userdata
from modalities.base import Dataset, Sample
from modalities.image import MODALITY, wording
from modalities.image.concepts import Concept, article, concepts, pluralised
from modalities.image.data import draw, load
from modalities.image.pictures import SIDE, STYLES, Art
from modalities.image.plan import TEST_STYLE, TRAIN_STYLES, VERSION, Item, held_out, plan


def concept(noun: str) -> Concept:
    return next(one for one in concepts() if one.noun == noun)


NAMES = [
    ("otter", "an otter", "two otters"),
    ("unicorn", "a unicorn", "two unicorns"),
    ("ewe", "a ewe", "two ewes"),
    ("euro banknote", "a euro banknote", "two euro banknotes"),
    ("one-piece swimsuit", "a one-piece swimsuit", "two one-piece swimsuits"),
    ("hourglass", "an hourglass", "two hourglasses"),
    ("X-ray picture", "an X-ray picture", "two X-ray pictures"),
    ("umbrella", "an umbrella", "two umbrellas"),
    ("American football", "an American football", "two American footballs"),
    ("goose", "a goose", "two geese"),
    ("mouse", "a mouse", "two mice"),
    ("computer mouse", "a computer mouse", "two computer mice"),
    ("deer", "a deer", "two deer"),
    ("ox", "an ox", "two oxen"),
    ("wolf", "a wolf", "two wolves"),
    ("tooth", "a tooth", "two teeth"),
    ("cherry blossom", "a cherry blossom", "two cherry blossoms"),
    ("butterfly", "a butterfly", "two butterflies"),
    ("monkey", "a monkey", "two monkeys"),
    ("ostrich", "an ostrich", "two ostriches"),
    ("potato", "a potato", "two potatoes"),
    ("avocado", "an avocado", "two avocados"),
    ("kitchen knife", "a kitchen knife", "two kitchen knives"),
    ("loaf of bread", "a loaf of bread", "two loaves of bread"),
    ("fallen leaf", "a fallen leaf", "two fallen leaves"),
    ("sheaf of rice", "a sheaf of rice", "two sheaves of rice"),
    ("piece of sushi", "a piece of sushi", "two pieces of sushi"),
    ("ear of corn", "an ear of corn", "two ears of corn"),
    ("box of French fries", "a box of French fries", "two boxes of French fries"),
    ("pair of scissors", "a pair of scissors", "two pairs of scissors"),
    ("man's shoe", "a man's shoe", "two men's shoes"),
    ("fish cake", "a fish cake", "two fish cakes"),
    ("bus", "a bus", "two buses"),
    ("airplane taking off", "an airplane taking off", "two airplanes taking off"),
    ("hand making an OK sign", "a hand making an OK sign", "two hands making an OK sign"),
    ("face sticking out its tongue", "a face sticking out its tongue", "two faces sticking out their tongues"),
    ("jockey on a horse", "a jockey on a horse", "two jockeys on horses"),
    ("person doing a cartwheel", "a person doing a cartwheel", "two people doing cartwheels"),
    ("game die", "a game die", "two game dice"),
]


@pytest.mark.parametrize(("noun", "one", "two"), NAMES)
def test_articles_and_plurals_are_right(noun: str, one: str, two: str) -> None:
    known = next((one for one in concepts() if one.noun == noun), None)
    made = known or Concept((noun,), noun, pluralised(noun), "kind", "group", False)
    assert made.several(1) == made.name == one
    assert made.several(2) == two


@pytest.mark.parametrize("name", ["the Statue of Liberty", "Mount Fuji", "Tokyo Tower", "fireworks", "blueberries"])
def test_names_and_uncounted_words_stand_as_they_are(name: str) -> None:
    assert concept(name).name == name
    assert not concept(name).countable


def test_no_noun_is_emoji_jargon() -> None:
    for one in concepts():
        assert re.fullmatch(r"[A-Za-zñ' -]+", one.noun), one.noun
        assert not re.search(r"\b(facing|button|selector|face: |done)\b", one.noun), one.noun
        first = one.noun.split()[0]
        assert first == first.lower() or first[0].isupper(), one.noun
        for word in ("japanese", "hindu", "french", "american", "christmas", "fuji", "tokyo", "statue"):
            assert word not in one.noun.replace("statue of liberty", ""), one.noun


def test_no_thing_has_two_names_and_no_kind_is_tiny() -> None:
    assert max(Counter(one.noun for one in concepts()).values()) == 1
    assert max(Counter(label for one in concepts() for label in one.labels).values()) == 1
    kinds = Counter(one.kind for one in concepts())
    assert 40 <= len(kinds) <= 60
    assert min(kinds.values()) >= 7
    for one in concepts():
        assert one.group in {other.group for other in concepts() if other.kind == one.kind}
        assert article(one.noun) in ("a", "an")


def test_a_wrong_guess_is_never_half_right() -> None:
    assert concept("eagle").confusable(concept("bird"))
    assert concept("polar bear").confusable(concept("bear"))
    assert concept("house with a garden").confusable(concept("derelict house"))
    assert not concept("eagle").confusable(concept("owl"))
    assert not concept("eagle").confusable(concept("house"))


def test_a_scene_is_described_from_both_ends() -> None:
    otter, rickshaw = concept("otter"), concept("auto rickshaw")
    question, answers = wording.scene(otter, 2, "to the left of", rickshaw, Random(0))
    assert question in wording.DESCRIBE
    assert "two otters to the left of an auto rickshaw" in answers
    assert "an auto rickshaw to the right of two otters" in answers
    question, answers = wording.position(otter, 2, "to the left of", rickshaw, 1, Random(0))
    assert question.endswith("to the left of the auto rickshaw?")
    assert answers == ("otters", "two otters", "otter")
    question, answers = wording.position(rickshaw, 1, "above", otter, 3, Random(0))
    assert question.endswith("above the otters?")
    assert answers[:2] == ("auto rickshaw", "an auto rickshaw")
    assert wording.count(otter, 3, Random(0))[1] == ("three", "3")


@pytest.fixture(scope="module")
def art(shared_store: Path) -> Art:
    return Art(shared_store)


@pytest.fixture(scope="module")
def plans(art: Art) -> dict[str, list[Item]]:
    return {"train": plan(art.has, "train"), "test": plan(art.has, "test")}


@pytest.fixture(scope="module")
def datasets(shared_store: Path) -> dict[str, Dataset]:
    return {dataset.name: dataset for dataset in load(shared_store)}


def answers(samples: Iterable[Sample], topic: str) -> Counter[str]:
    return Counter(sample.answers[0] for sample in samples if sample.topic == topic)


def pictures(samples: Iterable[Sample]) -> set[Path]:
    return {part.content for sample in samples for part in sample.prompt if isinstance(part.content, Path)}


def test_the_held_out_style_is_in_no_training_picture(plans: dict[str, list[Item]]) -> None:
    assert {item.picture.style for item in plans["train"]} == set(TRAIN_STYLES) == set(STYLES) - {TEST_STYLE}
    assert {item.picture.style for item in plans["test"]} == {TEST_STYLE}


def test_no_test_picture_is_a_training_picture(datasets: dict[str, Dataset]) -> None:
    splits = [
        {sample for dataset in datasets.values() for sample in getattr(dataset, split)} for split in ("train", "test")
    ]
    train, test = ({hashlib.sha256(path.read_bytes()).digest() for path in pictures(split)} for split in splits)
    assert len(train) > 4000
    assert len(test) == len(pictures(splits[1])) > 400
    assert not train & test
    ids = [sample.id for split in splits for sample in split]
    assert len(ids) == len(set(ids))


def test_no_test_scene_combines_what_a_training_scene_combines(plans: dict[str, list[Item]]) -> None:
    by_label = {one.labels[0]: one for one in concepts()}

    def pairs(split: str) -> set[frozenset[str]]:
        return {
            frozenset(thing.label for thing in item.picture.things)
            for item in plans[split]
            if len({thing.label for thing in item.picture.things}) == 2
        }

    assert len(pairs("test")) > 100
    assert not pairs("train") & pairs("test")
    assert all(held_out(*(by_label[label] for label in pair)) for pair in pairs("test"))


def test_everything_lies_inside_the_picture(plans: dict[str, list[Item]]) -> None:
    for item in plans["train"] + plans["test"]:
        for thing in item.picture.things:
            assert thing.size // 2 - 5 <= min(thing.x, thing.y)
            assert max(thing.x, thing.y) <= SIDE - thing.size // 2 + 5


def test_the_test_is_large_enough(datasets: dict[str, Dataset]) -> None:
    caption, qa = datasets["emoji-caption"], datasets["emoji-qa"]
    assert len(caption.test) >= 400
    assert len(qa.test) >= 600
    assert sum(answers(qa.test, "class").values()) >= 300
    assert {sample.topic for sample in caption.test} == {"name", "scene"}
    assert {sample.topic for sample in qa.test} == {"class", "group", "identity", "count", "position"}


def test_captions_have_references_and_targets_vary(datasets: dict[str, Dataset]) -> None:
    for sample in datasets["emoji-caption"].test:
        assert len(set(sample.answers)) >= 5, sample.id
    openings = Counter(" ".join(sample.answers[0].split()[:3]) for sample in datasets["emoji-caption"].train)
    pictures = {"a picture of", "a drawing of", "an illustration of", "an image of", "a picture that"}
    assert set(openings) == pictures, "a bare name is a reference, but no target"
    assert min(openings.values()) > 500
    questions = {sample.prompt[1].content for sample in datasets["emoji-caption"].train}
    assert questions == set(wording.DESCRIBE)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_most_common_answer_is_a_bad_guess(datasets: dict[str, Dataset], split: str) -> None:
    samples = getattr(datasets["emoji-qa"], split)
    most = {"class": 0.10, "group": 0.15, "identity": 0.51, "count": 0.34, "position": 0.05}
    for topic, share in most.items():
        counted = answers(samples, topic)
        assert counted.most_common(1)[0][1] <= share * counted.total(), (topic, counted.most_common(3))


def test_every_training_picture_of_one_thing_is_asked_for_its_class(datasets: dict[str, Dataset]) -> None:
    alone = pictures(sample for sample in datasets["emoji-caption"].train if sample.topic == "name")
    asked = pictures(sample for sample in datasets["emoji-qa"].train if sample.topic == "class")
    assert alone == asked


def test_what_was_drawn_is_what_is_planned_bit_for_bit(
    art: Art, plans: dict[str, list[Item]], shared_store: Path, tmp_path: Path
) -> None:
    load(shared_store)
    folder = shared_store / "data" / VERSION
    for split, items in plans.items():
        for item in items[:: len(items) // 12]:
            art.draw(item.picture).save(tmp_path / "again.png")
            assert (tmp_path / "again.png").read_bytes() == (folder / split / f"{item.name}.png").read_bytes()


def test_a_plan_is_drawn_into_a_folder_laid_out_as_a_users_own(
    art: Art, plans: dict[str, list[Item]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modalities.image.data.plan", lambda _, split: plans[split][:: len(plans[split]) // 12])
    draw(art, tmp_path)
    drawn = list((tmp_path / "train").glob("*.png"))
    assert len(drawn) > 5
    with Image.open(drawn[0]) as image:
        assert image.size == (SIDE, SIDE)
    assert [dataset.task for dataset in userdata.folder(MODALITY, tmp_path)] == ["caption", "qa"]


def test_icons_are_found_by_their_name_where_a_collection_lists_no_code_points(art: Art) -> None:
    assert art.has("emojione", "T-Rex") is art.has("noto-v1", "T-Rex") is False  # younger than these drawings
    assert art.has("emojione", "unicorn")
    assert art.has("noto-v1", "unicorn")
    assert art.has("twemoji", "cricket")
    assert not art.has("emojione", "cricket"), "the old name of the sport"
