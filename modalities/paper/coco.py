"""MSCOCO-2014 captions and OK-VQA, which asks about the same pictures.

    data/coco-2014/  train2014/  val2014/  annotations/captions_train2014.json  captions_val2014.json
    data/ok-vqa/     OpenEnded_mscoco_train2014_questions.json  mscoco_train2014_annotations.json  … val2014 …

Training takes a picture's first caption only (paper, Appendix B). OK-VQA has 9,009 training questions with ten answers
each; Table 8's 26K samples are read as one for each distinct answer. val2014 is what both are tested on.
"""

from pathlib import Path
from typing import Any, Literal

from modalities.base import Dataset, Sample
from modalities.paper.reading import TEST, field, from_json, listed, number, present, root, sample, some, subset

CAPTION = "Provide a one-sentence caption for the provided image."
Split = Literal["train2014", "val2014"]


def load(store: Path) -> list[Dataset]:
    """`mscoco-2014` and `ok-vqa`. Raises AssetError."""
    pictures = root(store, "coco-2014", "MSCOCO-2014 (images and annotations)")
    questions = root(store, "ok-vqa", "OK-VQA (questions and annotations)")
    captions = Dataset("mscoco-2014", "caption", *(_captions(pictures, split) for split in ("train2014", "val2014")))
    asked = Dataset("ok-vqa", "qa", *(_questions(questions, pictures, split) for split in ("train2014", "val2014")))
    for one in (captions, asked):
        present(
            (part.content for s in (*one.train, *one.test) for part in s.prompt if isinstance(part.content, Path)),
            pictures,
        )
    return [captions, asked]


def _picture(folder: Path, split: str, id: int) -> Path:
    return folder / split / f"COCO_{split}_{id:012d}.jpg"


def _captions(folder: Path, split: str) -> tuple[Sample, ...]:
    """In the file the captions of a picture do not stand together; the first is the one that stands first."""
    name = f"annotations/captions_{split}.json"
    said: dict[int, list[str]] = {}
    for row in from_json(folder, name, "annotations"):
        text = " ".join(str(field(row, "caption", name)).split())  # some end in a line break
        said.setdefault(number(field(row, "image_id", name), "image_id", name), []).append(text)
    some(said, f"{name} has no captions; fetch it again from where it is published.")
    train = split == "train2014"
    chosen = list(said) if train else subset(list(said), TEST)
    return tuple(
        sample(
            f"coco-{id}", "caption", "image", _picture(folder, split, id), CAPTION, said[id][:1] if train else said[id]
        )
        for id in chosen
    )


def _questions(folder: Path, pictures: Path, split: str) -> tuple[Sample, ...]:
    asked, answered = f"OpenEnded_mscoco_{split}_questions.json", f"mscoco_{split}_annotations.json"
    answers = {
        field(row, "question_id", answered): [str(field(one, "answer", answered)) for one in _answers(row, answered)]
        for row in from_json(folder, answered, "annotations")
    }
    rows = [row for row in from_json(folder, asked, "questions") if answers.get(field(row, "question_id", asked))]
    out: list[Sample] = []
    for row in rows if split == "train2014" else subset(rows, TEST):
        given = answers[row["question_id"]]
        media = _picture(pictures, split, number(field(row, "image_id", asked), "image_id", asked))
        common = sorted(dict.fromkeys(given), key=lambda one: -given.count(one))  # the most common answer first
        for place, kept in enumerate([[one] for one in common] if split == "train2014" else [common]):
            out.append(
                sample(
                    f"okvqa-{row['question_id']}-{place}",
                    "qa",
                    "image",
                    media,
                    str(field(row, "question", asked)),
                    kept,
                )
            )
    return tuple(
        some(out, f"{answered} answers no question of {asked}; fetch both again from where they are published.")
    )


def _answers(row: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return listed(field(row, "answers", name), f"An entry of {name} has no list of answers")
