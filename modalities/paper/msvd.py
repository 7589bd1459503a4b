"""MSVD captions and MSVD-QA, which asks about the same clips.

    data/msvd/     YouTubeClips/*.avi  AllVideoDescriptions.txt  youtube_mapping.txt
    data/msvd-qa/  train_qa.json  test_qa.json

The usual split by the mapping's numbers: 1 to 1200 train, 1301 to 1970 test (670 clips, all of them). Each caption is a
training sample, which gives Table 8's 48K.
"""

import re
from pathlib import Path

from modalities.assets import AssetError
from modalities.base import Dataset, Sample
from modalities.paper.reading import TEST, field, from_json, number, present, root, sample, some, subset, text

CAPTION = "Provide a one-sentence caption for the provided video."
TRAIN, HELD_OUT = range(1, 1201), range(1301, 1971)


def load(store: Path) -> list[Dataset]:
    """`msvd` and `msvd-qa`. Raises AssetError."""
    clips = root(store, "msvd", "MSVD (YouTubeClips, AllVideoDescriptions.txt, youtube_mapping.txt)")
    questions = root(store, "msvd-qa", "MSVD-QA (train_qa.json, test_qa.json)")
    files = _clips(clips)
    said = _descriptions(clips)
    train, test = ([clip for clip in half if clip in files] for half in (TRAIN, HELD_OUT))
    captions = Dataset(
        "msvd",
        "caption",
        tuple(
            sample(f"msvd-{clip}-{place}", "caption", "video", files[clip], CAPTION, [one])
            for clip in train
            for place, one in enumerate(said.get(files[clip].stem, ()))
        ),
        tuple(
            sample(f"msvd-{clip}", "caption", "video", files[clip], CAPTION, said[files[clip].stem])
            for clip in test
            if files[clip].stem in said
        ),
    )
    for half, numbers in ((captions.train, TRAIN), (captions.test, HELD_OUT)):
        wanted = f"vid{numbers.start} to vid{numbers.stop - 1}"
        some(half, f"AllVideoDescriptions.txt describes no clip that youtube_mapping.txt has as {wanted}; fetch both.")
    asked = Dataset(
        "msvd-qa",
        "qa",
        _questions(questions, files, "train"),
        tuple(subset(_questions(questions, files, "test"), TEST)),
    )
    present((files[clip] for clip in (*train, *test)), clips)
    return [captions, asked]


def _clips(folder: Path) -> dict[int, Path]:
    """`-4wsuPCjDBc_5_15 vid1` -> 1: YouTubeClips/-4wsuPCjDBc_5_15.avi."""
    found = {}
    for line in text(folder, "youtube_mapping.txt").splitlines():
        words = line.split()
        if len(words) == 2 and re.fullmatch(r"vid\d+", words[1]):
            found[int(words[1][3:])] = folder / "YouTubeClips" / f"{words[0]}.avi"
    if not found:
        raise AssetError("youtube_mapping.txt has no line like '-4wsuPCjDBc_5_15 vid1'; fetch it again.")
    return found


def _descriptions(folder: Path) -> dict[str, list[str]]:
    """One description a line after the clip's name; the file begins with remarks and has empty lines."""
    said: dict[str, list[str]] = {}
    for line in text(folder, "AllVideoDescriptions.txt").splitlines():
        clip, _, words = line.strip().partition(" ")
        if words and not clip.startswith("#"):
            said.setdefault(clip, []).append(words.strip())
    return said


def _questions(folder: Path, files: dict[int, Path], split: str) -> tuple[Sample, ...]:
    name = f"{split}_qa.json"
    out = []
    for row in from_json(folder, name):
        clip = number(field(row, "video_id", name), "video_id", name)
        if clip not in files:
            raise AssetError(
                f"{name} asks about video {clip}, which youtube_mapping.txt does not have; fetch both again."
            )
        question, answer = str(field(row, "question", name)), str(field(row, "answer", name))
        out.append(sample(f"msvdqa-{field(row, 'id', name)}", "qa", "video", files[clip], question, [answer]))
    return tuple(some(out, f"{name} has no questions; fetch it again from where it is published."))
