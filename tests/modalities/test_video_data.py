"""The clips of Wesnoth's units: who does what, split, balance, bytes. Real data, from the shared store."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from modalities import userdata
from modalities.assets import fetch
from modalities.base import Dataset, Sample
from modalities.packages import WESNOTH_DATA
from modalities.video import MODALITY, wording
from modalities.video.clips import FRAMES, MAGENTA, SIDE, TEAMS, draw, encode
from modalities.video.data import make, plans
from modalities.video.plan import Item
from modalities.video.reading import read
from modalities.video.units import ROOT, Scene, scenes

# Looked at, one by one: what the pictures show.
SEEN = [
    ("elves-wood/archer-bow-attack", "elvish archer", "elf", "shooting", "bow"),
    ("elves-wood/archer-sword", "elvish archer", "elf", "striking", "sword"),
    ("elves-wood/archer+female-die", "elvish archer", "elf", "dying", None),
    ("elves-wood/archer-idle", "elvish archer", "elf", "standing", None),
    ("drakes/warrior-fire-s", "drake warrior", "drake", "breathing fire", None),
    ("drakes/arbiter-pierce-s", "drake arbiter", "drake", "striking", "halberd"),
    ("dwarves/lord-ne-ranged", "dwarvish lord", "dwarf", "throwing", "hatchet"),
    ("dwarves/gryphon-rider-flying", "gryphon rider", "gryphon", "flying", None),
    ("human-magi/white-mage-die", "white mage", "human", "dying", None),
    ("saurians/oracle/oracle-ne-run", "saurian oracle", "saurian", "running", None),
    ("undead-skeletal/banebow-bow-attack", "banebow", "undead", "shooting", "bow"),
    ("undead-necromancers/adept-magic", "dark adept", "human", "casting a spell", None),
    ("goblins/wolf-rider-die", "wolf rider", "goblin", "dying", None),
]


@pytest.fixture(scope="module")
def core(shared_store: Path) -> Path:
    return fetch(shared_store, WESNOTH_DATA) / ROOT


@pytest.fixture(scope="module")
def known(core: Path) -> dict[str, Scene]:
    return {scene.key.removeprefix("units/"): scene for scene in scenes(core)}


@pytest.fixture(scope="module")
def planned(shared_store: Path) -> dict[str, list[Item]]:
    return plans(shared_store)


@pytest.fixture(scope="module")
def datasets(shared_store: Path) -> Sequence[Dataset]:
    return MODALITY.datasets(shared_store)


@pytest.mark.parametrize(("key", "unit", "race", "action", "weapon"), SEEN)
def test_the_games_files_tell_who_does_what(
    known: dict[str, Scene], key: str, unit: str, race: str, action: str, weapon: str | None
) -> None:
    scene = known[key]
    assert (scene.unit, scene.race, scene.action, scene.weapon) == (unit, race, action, weapon)


def test_pictures_that_serve_for_several_things_are_left_out(known: dict[str, Scene]) -> None:
    assert "elves-wood/shyde-healing" not in known
    assert "undead/ghost-s" not in known, "it stands, strikes and parries in the same pictures"
    assert len(known) > 500
    assert {scene.action for scene in known.values()} == set(wording.DOES)


def test_no_deed_of_a_unit_is_on_both_sides_but_each_unit_is_known(planned: dict[str, list[Item]]) -> None:
    train, test = ([item.scene for item in planned[split]] for split in ("train", "test"))
    assert not {scene.group for scene in train} & {scene.group for scene in test}
    assert {scene.unit for scene in test} <= {scene.unit for scene in train}
    assert {scene.action for scene in test} == {scene.action for scene in train}
    assert len({scene.group for scene in test}) > 55


def test_views_and_women_stay_with_their_deed(planned: dict[str, list[Item]]) -> None:
    sides: dict[str, set[str]] = defaultdict(set)
    for split, items in planned.items():
        for item in items:
            plain = re.sub(r"\+female|-(?:ne|se|nw|sw|n|s)(?=-|$)", "", item.scene.key)
            sides[f"{plain} {item.scene.unit} {item.scene.action} {item.scene.weapon}"].add(split)
    assert all(len(side) == 1 for side in sides.values())


def test_no_drawing_is_on_both_sides(planned: dict[str, list[Item]]) -> None:
    def drawings(split: str) -> set[bytes]:
        paths = {path for item in planned[split] for path in item.scene.frames}
        return {hashlib.sha256(path.read_bytes()).digest() for path in paths}

    train, test = drawings("train"), drawings("test")
    assert len(train & test) <= 0.02 * len(test), "a few units begin two deeds in the same posture"


def test_rare_deeds_are_shown_more_often(planned: dict[str, list[Item]]) -> None:
    counts = Counter(item.scene.action for item in planned["train"])
    assert max(counts.values()) < 0.16 * counts.total()
    assert min(counts.values()) > 80
    assert 2500 < counts.total() < 4500


def test_the_datasets_are_large_enough_and_agree_with_their_files(datasets: Sequence[Dataset]) -> None:
    caption, qa = datasets
    assert (caption.name, caption.task, qa.name, qa.task) == ("wesnoth-caption", "caption", "wesnoth-qa", "qa")
    assert len(caption.test) >= 300
    assert sum(sample.topic == "action" for sample in qa.test) >= 300
    assert {sample.topic for sample in qa.test} == set(wording.ASK)
    for sample in (caption.train[0], qa.test[-1]):
        media, question = sample.prompt
        assert media.modality == "video"
        assert [frame.shape for frame in MODALITY.read(media.data())] == [(SIDE, SIDE, 3)] * 4
        assert question.content in (*wording.DESCRIBE, *wording.ASK.get(sample.topic, ()))


def test_each_caption_has_references_and_reads_as_english(datasets: Sequence[Dataset]) -> None:
    wrong = re.compile(r"\ba [aeio]|\ban [^aeiou]|\b(\w+) \1\b|  |[A-Z_+]")
    for sample in (*datasets[0].train, *datasets[0].test):
        assert len(set(sample.answers)) >= 5
        assert re.match("a (short )?(video|clip)", sample.answers[0]), "the target says that it is a video"
        for answer in sample.answers:
            assert not wrong.search(answer), answer


def test_captions_say_the_deed_in_the_words_of_the_question(datasets: Sequence[Dataset]) -> None:
    assert all(wording.DOING[does] for deeds in wording.DOES.values() for does in deeds)
    question, said = wording.caption("elvish archer", "shooting", "bow", "snow", Random(0))
    assert question in wording.DESCRIBE
    assert "an elvish archer shoots with its bow on snow" in {text.replace("fires", "shoots") for text in said}
    assert "a unit throws its axe on a road" in wording.caption("unit", "throwing", "axe", "road", Random(0))[1]


def test_every_wording_is_used_and_none_is_rare(datasets: Sequence[Dataset]) -> None:
    asked = Counter((sample.topic, str(sample.prompt[1].content)) for sample in datasets[1].train)
    for topic, ways in wording.ASK.items():
        counts = [asked[topic, way] for way in ways]
        assert len(ways) >= 4
        assert min(counts) > 0.6 * max(counts), topic


def test_nothing_can_be_guessed_blind(datasets: Sequence[Dataset]) -> None:
    """The best answer to each wording, learned without looking, is right for few."""
    qa = datasets[1]
    heard: dict[object, Counter[str]] = defaultdict(Counter)
    for sample in qa.train:
        heard[sample.prompt[1].content][sample.answers[0]] += 1
    best = {question: counts.most_common(1)[0][0] for question, counts in heard.items()}
    right: dict[str, list[bool]] = defaultdict(list)
    for sample in qa.test:
        right[sample.topic].append(best[sample.prompt[1].content] == sample.answers[0])
    shares = {topic: sum(hits) / len(hits) for topic, hits in right.items()}
    assert shares["action"] < 0.2
    assert shares["direction"] < 0.6
    assert max(shares[topic] for topic in ("who", "ground")) < 0.15
    assert sum(map(sum, right.values())) / len(qa.test) < 0.3


def test_no_file_is_shared_between_training_and_test(datasets: Sequence[Dataset]) -> None:
    def media(samples: Sequence[Sample]) -> set[object]:
        return {sample.prompt[0].content for sample in samples}

    assert not any(media(one.train) & media(other.test) for one in datasets for other in datasets)


def test_what_was_drawn_is_what_is_planned_bit_for_bit(
    planned: dict[str, list[Item]], datasets: Sequence[Dataset]
) -> None:
    media = datasets[0].test[0].prompt[0].content
    assert isinstance(media, Path)
    for split, items in planned.items():
        for item in items[:: len(items) // 6]:
            path = media.parent.parent / split / f"{item.name}.mp4"
            assert encode(draw(item.clip)) == path.read_bytes()


def test_the_clips_are_the_same_bytes_everywhere(datasets: Sequence[Dataset]) -> None:
    media = datasets[0].test[0].prompt[0].content
    assert isinstance(media, Path)
    digest = hashlib.sha256()
    for path in sorted(media.parent.glob("*.mp4")):
        digest.update(path.name.encode() + path.read_bytes())
    assert digest.hexdigest() == "91e5896f52e5793be88aa67146adeb656548a5118dddc04a2b7eab5c06ac5796"


def test_who_moves_passes_the_ground_and_who_stands_does_not(planned: dict[str, list[Item]]) -> None:
    for moving in (True, False):
        clip = next(item.clip for item in planned["train"] if item.clip.moving is moving and item.clip.margin > 8)
        corners = [np.asarray(frame)[:8, :8].astype(int) for frame in draw(clip)]
        still = all((one == other).all() for one, other in pairwise(corners))
        assert still is not moving


def test_mirroring_turns_the_unit_and_the_team_changes_its_colour(planned: dict[str, list[Item]]) -> None:
    clip = next(item.clip for item in planned["train"] if not item.clip.moving)
    as_drawn, mirrored = (np.asarray(draw(replace(clip, mirrored=turn, offset=(0, 0)))[0]) for turn in (False, True))
    assert (as_drawn != mirrored).any()
    reds = [np.asarray(draw(replace(clip, team=team))[0])[..., 0].mean() for team in ("red", "teal")]
    assert reds[0] > reds[1]
    assert len(set(TEAMS.values())) == len(TEAMS)
    assert len(set(MAGENTA)) == 19


def test_a_plan_is_drawn_into_a_folder_laid_out_as_a_users_own(planned: dict[str, list[Item]], tmp_path: Path) -> None:
    make({split: items[:: len(items) // 5] for split, items in planned.items()}, tmp_path)
    film = next((tmp_path / "train").glob("*.mp4"))
    assert len(read(film.read_bytes())) == 4
    assert film.stat().st_size < 20_000 * FRAMES
    assert [dataset.task for dataset in userdata.folder(MODALITY, tmp_path)] == ["caption", "qa"]
