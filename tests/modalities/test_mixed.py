"""Questions over several senses: on toys, what an item promises; on the four real ones, splits, balance, sizes."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from modalities.base import TEXT, Dataset, Modality, Part, Sample, builtin, find
from modalities.choices import ASK, LETTERS, Choice
from modalities.mixed import PLACES, SIZES, Split, choices, mixed
from modalities.shown import Medium, Table, media, read_table

SPLITS: tuple[Split, Split] = ("train", "test")
Known = list[tuple[Modality, Sequence[Dataset]]]


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Known:
    store = tmp_path_factory.mktemp("toys")
    return [(found, found.datasets(store)) for found in map(find, ("tests.toy.tone", "tests.toy.pulse"))]


@pytest.fixture(scope="module")
def senses(shared_store: Path) -> Known:
    return [(found, found.datasets(shared_store)) for found in map(find, builtin())]


@pytest.fixture(scope="module")
def made(senses: Known) -> dict[Split, list[Choice]]:
    return {split: choices(senses, split) for split in SPLITS}


def shown(known: Known, split: Split) -> dict[Part, Medium]:
    found: dict[Part, Medium] = {}
    for modality, datasets in known:
        assert modality.shows is not None
        samples = (sample for one in datasets for sample in (one.train if split == "train" else one.test))
        found |= {one.part: one for one in media(read_table(modality.shows), samples)}
    return found


def concept(item: Choice, known: Known) -> str:
    """What a `which` question asks for."""
    tables = [read_table(modality.shows) for modality, _ in known if modality.shows]
    concepts = {concept for table in tables for concept in table.concepts}
    return max((one for one in concepts if one in item.question), key=len)


def hold(item: Choice, files: dict[Part, Medium], known: Known) -> None:
    """Exactly the right option is true."""
    chosen = [files[part] for part in item.media]
    if item.kind == "share":
        right = [all(option in one.shows for one in chosen) for option in item.options]
        wrong = [any(option in one.lacks for one in chosen) for option in item.options]
        assert right == [not one for one in wrong] == [place == item.right for place in range(len(LETTERS))]
        return
    asked = concept(item, known)
    assert all(asked in one.shows or asked in one.lacks for one in chosen), "Nothing that one could argue about."
    having = [PLACES[place] for place, one in enumerate(chosen) if asked in one.shows]
    said = item.options[item.right]
    assert having == ([said] if said in PLACES else list(PLACES[:2]) if said == "both of them" else [])


def test_exactly_the_right_option_is_true(toys: Known) -> None:
    for split in SPLITS:
        made = choices(toys, split)
        assert len(made) == SIZES[split][2]
        for item in made:
            hold(item, shown(toys, split), toys)


def test_it_is_asked_as_any_multiple_choice_and_the_letter_is_learned(toys: Known) -> None:
    sample = mixed(toys).train[1]
    *parts, text = sample.prompt
    assert {part.modality for part in parts} == {"tone", "pulse"}
    assert text.modality == TEXT
    question, *options, ask = str(text.content).split("\n")
    assert question.endswith("?")
    assert ask == ASK
    letter, said = sample.answers
    assert options[LETTERS.index(letter)] == f"{letter}. {said}"
    assert [option[:3] for option in options] == ["A. ", "B. ", "C. ", "D. "]


def test_train_items_are_about_training_files_and_test_items_about_test_files(toys: Known) -> None:
    both = mixed(toys)
    seen = {part for _, datasets in toys for one in datasets for sample in one.train for part in sample.prompt}
    assert all(set(sample.prompt[:-1]) <= seen for sample in both.train)
    assert all(seen.isdisjoint(sample.prompt[:-1]) for sample in both.test)


def test_the_same_items_whatever_comes_first(toys: Known) -> None:
    assert mixed(toys) == mixed(toys[::-1])


def test_a_modality_without_a_table_takes_no_part(toys: Known) -> None:
    (tone, datasets), other = toys
    assert mixed([(replace(tone, shows=None), datasets), other]).train == ()
    assert mixed([other]).train == ()


def test_one_medium_alone_leaves_a_choice(toys: Known) -> None:
    files = shown(toys, "train")
    for item in choices(toys, "train"):
        if item.kind == "share":
            assert all(len(files[part].shows & set(item.options)) > 1 for part in item.media)


def test_a_table_tells_shown_from_lacking_from_unclear() -> None:
    table = Table.model_validate(
        {
            "about": "name",
            "never": ["a noise"],
            "either": [["something red", "something blue"]],
            "shows": {
                "a dog": {"name|kind": "dog|poodle"},
                "something red": {"name": "red .*"},
                "something blue": {"name": "blue .*"},
            },
            "unclear": {"a dog": {"name": "hot dog"}},
        }
    )

    def of(name: str, topic: str = "name") -> Sample:
        prompt = (Part("image", name.encode()), Part(TEXT, "What is it?"))
        return Sample(name, "caption", prompt, (f"a {name}",), topic)

    poodle, hot, car, *rest = media(table, map(of, ("Poodle", "hot dog", "red car")))
    assert not rest
    assert poodle.shows == {"a dog"}
    assert poodle.lacks == {"a noise"}, "Whether it is red nobody has said."
    assert hot.shows == frozenset()
    assert hot.lacks == {"a noise"}
    assert car.shows == {"something red"}
    assert car.lacks == {"a noise", "a dog", "something blue"}
    assert media(table, [of("dog", "scene")]) == []


def test_each_pair_triple_and_all_four_have_their_items(made: dict[Split, list[Choice]]) -> None:
    for split, sizes in SIZES.items():
        found = Counter(tuple(sorted(part.modality for part in item.media)) for item in made[split])
        assert found == {names: sizes[len(names)] for names in found}
        assert Counter(map(len, found)) == {2: 6, 3: 4, 4: 1}
    assert len(made["train"]) >= 1500
    by_number = Counter(len(item.media) for item in made["test"])
    assert sum(by_number.values()) == 400
    assert min(by_number.values()) >= 100


def test_letters_kinds_and_orders_are_balanced(made: dict[Split, list[Choice]]) -> None:
    for split in SPLITS:
        number = len(made[split])
        assert Counter(item.letter for item in made[split]) == dict.fromkeys(LETTERS, number // 4)
        assert Counter(item.kind for item in made[split]) == {"which": number // 2, "share": number // 2}
        places = Counter((part.modality, place) for item in made[split] for place, part in enumerate(item.media))
        for modality in builtin():
            assert places[modality, 0] > 0.15 * number
        assert max(Counter(item.question for item in made[split]).values()) < 0.15 * number


def test_every_real_item_has_one_right_option(made: dict[Split, list[Choice]], senses: Known) -> None:
    for split in SPLITS:
        files = shown(senses, split)
        for item in made[split]:
            hold(item, files, senses)
        assert len({item.id for item in made[split]}) == len(made[split])


def test_options_alone_tell_little_and_one_medium_tells_half(made: dict[Split, list[Choice]], senses: Known) -> None:
    right: Counter[str] = Counter()
    there: Counter[str] = Counter()
    for item in made["train"]:
        if item.kind == "share":
            right[item.options[item.right]] += 1
            there.update(item.options)
    shares = {option: (right[option] + 0.25) / (there[option] + 1) for option in there}
    blind: list[bool] = []
    alone: defaultdict[int, list[float]] = defaultdict(list)
    files = shown(senses, "test")
    for item in made["test"]:
        if item.kind == "share":
            blind.append(max(LETTERS, key=lambda one: shares.get(item.options[LETTERS.index(one)], 0)) == item.letter)
            fits = [len(files[part].shows & set(item.options)) for part in item.media]
            alone[len(fits)] += [1 / fit for fit in fits]
    assert sum(blind) / len(blind) < 0.5, "Who goes by how often an option is right."
    assert all(sum(of) / len(of) < 0.6 for of in alone.values()), "Who knows all of one medium."


def test_the_tables_speak_of_the_same_things() -> None:
    """A concept that only one table has could never be asked for, and may be misspelt."""
    tables = [read_table(found.shows) for found in map(find, builtin()) if found.shows]
    assert len(tables) == len(builtin())
    for table in tables:
        assert table.unclear.keys() <= table.shows.keys()
        assert not table.shows.keys() & set(table.never)
        assert {one for group in table.either for one in group} <= table.shows.keys()
        assert all(any(concept in other.concepts for other in tables if other is not table) for concept in table.shows)
        assert all(any(concept in other.shows for other in tables) for concept in table.never)
