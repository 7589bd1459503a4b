"""The readers of the paper's eight datasets, on what is published, in small."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from modalities.assets import AssetError
from modalities.base import TEXT, Dataset, Sample
from modalities.paper import cap3d, coco, msvd, reading, sounds
from tests.modalities.paper.published import write

LOADERS = {"image": coco.load, "video": msvd.load, "audio": sounds.load, "pointcloud": cap3d.load}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cap3d, "TEST", 1)  # three objects are fewer than a thousand
    return write(tmp_path)


def told(samples: Sequence[Sample]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Each sample as its file, its question and its answers."""
    return [(Path(str(s.prompt[0].content)).name, str(s.prompt[1].content).split("\n")[0], s.answers) for s in samples]


@pytest.mark.parametrize("name", LOADERS)
def test_nothing_of_the_test_is_in_the_training_and_ids_are_unique(store: Path, name: str) -> None:
    found = LOADERS[name](store)
    assert [one.task for one in found] == ["caption", "qa"]
    trained = {(s.prompt, s.answers) for one in found for s in one.train}
    for one in found:
        ids = [s.id for s in (*one.train, *one.test)]
        assert len(set(ids)) == len(ids)
        assert all(s.answers and s.task == one.task for s in (*one.train, *one.test))
        assert {part.modality for s in (*one.train, *one.test) for part in s.prompt} <= {name, TEXT}
    if name != "audio":  # the same questions were written to both of Clotho's files here
        assert not [s.id for one in found for s in one.test if (s.prompt, s.answers) in trained]


def test_coco_trains_on_first_captions_and_tests_on_all(store: Path) -> None:
    captions, asked = coco.load(store)
    assert told(captions.train) == [
        (
            "COCO_train2014_000000000009.jpg",
            coco.CAPTION,
            ("Closeup of bins of food that include broccoli and bread.",),
        ),
        ("COCO_train2014_000000000025.jpg", coco.CAPTION, ("A giraffe eating food from the top of the tree.",)),
    ]
    assert [len(answers) for _, _, answers in told(captions.test)] == [2]
    assert [answers for _, _, answers in told(asked.train)] == [("giraffe",), ("giraffes",), ("camel",)]
    assert [answers for _, _, answers in told(asked.test)] == [("giraffe", "giraffes", "camel")]
    assert asked.train[0].prompt[1].content == "What animal is this?" + reading.BRIEFLY


def test_msvd_splits_by_the_mapping_s_numbers(store: Path) -> None:
    captions, asked = msvd.load(store)
    assert [answers for _, _, answers in told(captions.train)] == [
        ("a squirrel is eating a peanut in it's shell",),
        ("a chipmunk is eating",),
        ("a little dog is barking",),
    ]
    assert told(captions.test) == [("tested_1_2.avi", msvd.CAPTION, ("a man plays a guitar", "someone plays music"))]
    assert told(asked.test) == [("tested_1_2.avi", "who plays?", ("man",))]
    assert told(asked.train)[0][0] == "-4wsuPCjDBc_5_15.avi"


def test_audiocaps_leaves_out_what_is_gone_and_finds_the_rest_by_any_usual_name(store: Path) -> None:
    captions, _ = sounds.load(store)
    assert [(name, answers) for name, _, answers in told(captions.train)] == [
        ("r1nicOVtvkQ.wav", ("A woman talks nearby as water pours",)),
        ("UDGBjjwyaXE_20.flac", ("Multiple clanging, then clanking sounds",)),
    ]
    assert [len(answers) for _, _, answers in told(captions.test)] == [2]


def test_clotho_keeps_answers_given_with_confidence_yes(store: Path) -> None:
    _, asked = sounds.load(store)
    assert told(asked.train) == [("Birds, morning.wav", "Are there birds?", ("yes",))] * 2 + [
        ("rain.wav", "What falls?", ("rain",))
    ]
    assert [answers for _, _, answers in told(asked.test)] == [("yes",), ("rain",)]


def test_cap3d_leaves_out_long_captions_and_broken_clouds(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions, asked = cap3d.load(store)
    everything = told((*captions.train, *captions.test))
    assert sorted(everything) == [
        ("aa01_8192.npy", cap3d.CAPTION, ("a red chair with four legs",)),
        ("cc03_8192.npy", cap3d.CAPTION, ("a small, blue boat",)),
    ]
    held = {told(captions.test)[0][0]}
    assert {name for name, _, _ in told(asked.test)} == held, "Both datasets hold the same objects out."
    assert held.isdisjoint(name for name, _, _ in told((*captions.train, *asked.train)))
    assert "bb02_8192.npy" in {name for name, _, _ in told(asked.train)}, "Only captions are judged by their length."
    monkeypatch.setattr(cap3d, "QUESTIONS", 1)
    assert [len(one.train) for one in cap3d.load(store)] == [1, 1]


def test_cap3d_holds_out_what_lavis_lists_where_its_files_are_there(store: Path) -> None:
    folder = store / "data" / "cap3d"
    (folder / "cap3d_cap_final_val.csv").write_text("sample_id,data\ncc03,['a boat']\n")
    captions, asked = cap3d.load(store)
    assert (
        [name for name, _, _ in told(captions.test)] == [name for name, _, _ in told(asked.test)] == ["cc03_8192.npy"]
    )
    (folder / "CAP3DQA_final_val.csv").write_text("sample_id,question,answer\ncc03,Does it swim?,yes\n")
    captions, asked = cap3d.load(store)
    assert told(asked.test) == [("cc03_8192.npy", "Does it swim?", ("yes",))]
    assert "cc03_8192.npy" not in {name for name, _, _ in told((*captions.train, *asked.train))}


def test_only_sounds_are_taken_for_sounds(store: Path) -> None:
    (store / "data/audiocaps/audio/r1nicOVtvkQ.info.json").write_text("{}")
    (store / "data/audiocaps/audio/GoneForEver.json").write_text("{}")
    captions, _ = sounds.load(store)
    assert [name for name, _, _ in told(captions.train)] == ["r1nicOVtvkQ.wav", "UDGBjjwyaXE_20.flac"]


def test_clotho_is_read_as_windows_wrote_it(store: Path) -> None:
    (store / "data/clotho-aqa/audio_files/café.wav").touch()
    spoilt(CLOTHO, "file_name,QuestionText,answer,confidence\ncafé.wav,Who speaks?,a man,yes\n")(store / "data")
    assert told(sounds.load(store)[1].train) == [("café.wav", "Who speaks?", ("a man",))]


def test_a_long_cell_is_read(store: Path) -> None:
    long = "clang " * 30_000
    row = f"audiocap_id,youtube_id,start_time,caption\n1,r1nicOVtvkQ,130,{long}\n"
    spoilt("audiocaps/train.csv", row)(store / "data")
    assert told(sounds.load(store)[0].train)[0][2] == (long.strip(),)


def test_subsets_are_drawn_by_seed_and_keep_their_order() -> None:
    drawn = reading.subset(range(5000), 1000)
    assert drawn == sorted(drawn)
    assert drawn == reading.subset(range(5000), 1000)
    assert drawn != reading.subset(range(5000), 1000, seed=1)
    assert reading.subset([3, 1], 1000) == [3, 1]


def lost(name: str) -> Callable[[Path], object]:
    return lambda data: (data / name).unlink()


def spoilt(name: str, text: str) -> Callable[[Path], object]:
    return lambda data: (data / name).write_text(text, "latin-1")


def folder(name: str) -> Callable[[Path], object]:
    """A folder where a file should be."""

    def put(data: Path) -> None:
        (data / name).unlink()
        (data / name).mkdir()

    return put


def listed(name: str, key: str, **entry: object) -> Callable[[Path], object]:
    return spoilt(name, json.dumps({key: [entry]}))


CLOTHO = "clotho-aqa/clotho_aqa_train.csv"
OK_VQA = "ok-vqa/mscoco_val2014_annotations.json"
COCO = "coco-2014/annotations/captions_val2014.json"
AUDIOCAPS = "audiocap_id,youtube_id,start_time,caption\n"
BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    ("image", lambda data: (data / "coco-2014").rename(data / "elsewhere"), "no data/coco-2014 in the store"),
    ("image", lost("coco-2014/annotations/captions_val2014.json"), "coco-2014 has no annotations/captions_val2014"),
    ("image", lost("coco-2014/train2014/COCO_train2014_000000000009.jpg"), "no train2014/COCO_train2014_000000000009"),
    ("image", spoilt("ok-vqa/mscoco_val2014_annotations.json", '{"a": 1}'), "no list of entries under 'annotations'"),
    ("image", spoilt("ok-vqa/mscoco_val2014_annotations.json", '{"annot'), "no list of entries"),
    ("image", spoilt("coco-2014/annotations/captions_val2014.json", '{"annotations": [{"id": 1}]}'), "no 'caption'"),
    ("video", spoilt("msvd/youtube_mapping.txt", "\n"), "no line like '-4wsuPCjDBc_5_15 vid1'"),
    ("video", lost("msvd/YouTubeClips/tested_1_2.avi"), "no YouTubeClips/tested_1_2.avi"),
    ("video", spoilt("msvd-qa/test_qa.json", json.dumps([{"video_id": 7}])), "asks about video 7"),
    ("audio", lost("audiocaps/audio/Y7fmOlUlwoNg.wav"), "no sound of test.csv, looked for 7fmOlUlwoNg.wav"),
    ("audio", spoilt(CLOTHO, "file_name,QuestionText,answer\n"), "no column 'confidence'"),
    ("audio", spoilt("audiocaps/train.csv", AUDIOCAPS + "1,r1nicOVtvkQ,130,é\n"), "is not UTF-8"),
    (
        "audio",
        spoilt("audiocaps/train.csv", AUDIOCAPS + "1,r1nicOVtvkQ,abc,a\n"),
        "start_time that is no number",
    ),
    ("audio", spoilt("audiocaps/train.csv", AUDIOCAPS), "train.csv has no rows"),
    (
        "audio",
        spoilt("audiocaps/train.csv", AUDIOCAPS + '1,r,0,"' + "a" * (reading.CELL + 1)),
        "a cell of it has no end",
    ),
    ("audio", spoilt("audiocaps/train.csv", ""), "no column 'audiocap_id'"),
    ("audio", folder("audiocaps/train.csv"), "train.csv is no file"),
    (
        "audio",
        spoilt(CLOTHO, "file_name,QuestionText,answer,confidence\nrain.wav,q,a,no\n"),
        "has the confidence 'yes'",
    ),
    ("audio", lost("clotho-aqa/audio_files/rain.wav"), "has no audio_files/rain.wav; unpack"),
    ("image", folder(COCO), "captions_val2014.json is no file"),
    ("image", listed(COCO, "annotations", image_id="x", caption="a"), "an? image_id that is no number: 'x'"),
    ("image", spoilt(COCO, '{"annotations": []}'), "captions_val2014.json has no captions"),
    ("image", listed(OK_VQA, "annotations", question_id=420, answers=[{"raw_answer": "a"}]), "no 'answer'"),
    ("image", listed(OK_VQA, "annotations", question_id=420, answers="a"), "no list of answers"),
    ("image", listed(OK_VQA, "annotations", question_id=1, answers=[{"answer": "a"}]), "answers no question of"),
    ("video", spoilt("msvd/youtube_mapping.txt", "é vid1"), "youtube_mapping.txt is not UTF-8"),
    ("video", spoilt("msvd/AllVideoDescriptions.txt", "é a b"), "AllVideoDescriptions.txt is not UTF-8"),
    ("video", spoilt("msvd/AllVideoDescriptions.txt", "other_1_2 a b"), "describes no clip .* vid1 to vid1200"),
    ("video", spoilt("msvd-qa/test_qa.json", json.dumps([{"video_id": "vid1"}])), "video_id that is no number: 'vid1'"),
    ("video", spoilt("msvd-qa/test_qa.json", "[]"), "test_qa.json has no questions"),
    ("pointcloud", spoilt("cap3d/CAP3DQA_final.csv", "sample_id,question,answer\n"), "CAP3DQA_final.csv has no rows"),
    ("pointcloud", lambda data: (data / "cap3d/8192_npy/cc03_8192.npy").unlink(), "leaves nothing to train on"),
    ("pointcloud", lost("cap3d/CAP3DQA_final.csv"), "cap3d has no CAP3DQA_final.csv"),
    ("pointcloud", spoilt("cap3d/Cap3D_automated_Objaverse_full.csv", "x,y\n"), "no cloud of a captioned object"),
]


@pytest.mark.parametrize(("name", "break_it", "complaint"), BROKEN, ids=[complaint for _, _, complaint in BROKEN])
def test_what_is_missing_or_odd_is_one_line_that_says_what_was_looked_for(
    store: Path, name: str, break_it: Callable[[Path], object], complaint: str
) -> None:
    break_it(store / "data")
    with pytest.raises(AssetError, match=complaint) as error:
        LOADERS[name](store)
    assert str(store) not in str(error.value)
    assert "\n" not in str(error.value)


def test_each_is_a_dataset_of_its_published_name(store: Path) -> None:
    found: list[Dataset] = [one for load in LOADERS.values() for one in load(store)]
    assert " ".join(one.name for one in found) == (
        "mscoco-2014 ok-vqa msvd msvd-qa audiocaps clotho-aqa cap3d cap3d-qa"
    )
