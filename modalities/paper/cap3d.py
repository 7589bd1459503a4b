"""Cap3D and Cap3D-QA over Objaverse's coloured point clouds.

    data/cap3d/  Cap3D_automated_Objaverse_full.csv  CAP3DQA_final.csv  8192_npy/<uid>_8192.npy (PointLLM's)
                 cap3d_cap_final_val.csv  CAP3DQA_final_val.csv (LAVIS's, where you have them)

Captions of more than 100 letters are left out; 50K captions and 30K questions are drawn to train on (paper,
Appendix B). Held out is what LAVIS's X-InstructBLIP lists for validation, whose questions then are the test. Without
these files 1,000 objects of those with both are, drawn by seed. Neither dataset trains on what either holds out.
"""

from pathlib import Path

from modalities.base import Dataset, Sample
from modalities.paper.reading import TEST, from_csv, root, sample, some, subset, the

CAPTION = "Provide a one-sentence caption for the provided point cloud."
CAPTIONED, ASKED = "Cap3D_automated_Objaverse_full.csv", "CAP3DQA_final.csv"
CAPTIONED_TEST, ASKED_TEST = "cap3d_cap_final_val.csv", "CAP3DQA_final_val.csv"
LETTERS = 100
CAPTIONS, QUESTIONS = 50_000, 30_000
BROKEN = {"6760e543e1d645d5aaacd3803bcae524", "b91c0711149d460a8004f9c06d3b7f38"}  # PointLLM: their colours are damaged


def load(store: Path) -> list[Dataset]:
    """`cap3d` and `cap3d-qa`. Raises AssetError."""
    folder = root(store, "cap3d", "Cap3D's CSV, CAP3DQA_final.csv and PointLLM's 8192_npy")
    clouds = {path.name.removesuffix("_8192.npy"): path for path in the(folder, "8192_npy").glob("*_8192.npy")}
    said = {
        row["uid"]: row["caption"]
        for row in from_csv(folder, CAPTIONED, ("uid", "caption"), header=False)
        if row["uid"] in clouds and row["uid"] not in BROKEN and 0 < len(row["caption"]) <= LETTERS
    }
    some(said, "data/cap3d/8192_npy has no cloud of a captioned object, looked for <uid>_8192.npy; unpack it.")
    asked = _questions(folder, ASKED, clouds)
    tested = _questions(folder, ASKED_TEST, clouds) if (folder / ASKED_TEST).exists() else asked
    held = {uid for uid, _ in tested} if tested is not asked else set()
    if (folder / CAPTIONED_TEST).exists():
        held |= {row["sample_id"] for row in from_csv(folder, CAPTIONED_TEST, ("sample_id",))}
    held = held or set(subset(sorted(said.keys() & {uid for uid, _ in asked}), TEST))

    def captions(test: bool) -> list[Sample]:
        chosen = [uid for uid in said if (uid in held) == test]
        made = [sample(f"cap3d-{uid}", "caption", "pointcloud", clouds[uid], CAPTION, [said[uid]]) for uid in chosen]
        return subset(some(made, _nothing(test)), TEST if test else CAPTIONS)

    def questions(test: bool) -> list[Sample]:
        made = [one for uid, one in (tested if test else asked) if (uid in held) == test]
        return subset(some(made, _nothing(test)), TEST if test else QUESTIONS)

    return [
        Dataset("cap3d", "caption", tuple(captions(False)), tuple(captions(True))),
        Dataset("cap3d-qa", "qa", tuple(questions(False)), tuple(questions(True))),
    ]


def _questions(folder: Path, name: str, clouds: dict[str, Path]) -> list[tuple[str, Sample]]:
    """The questions about objects that there are, each with its object."""
    prefix = "cap3dqa-test" if name == ASKED_TEST else "cap3dqa"
    return [
        (uid, sample(f"{prefix}-{number}", "qa", "pointcloud", clouds[uid], row["question"], [row["answer"]]))
        for number, row in enumerate(from_csv(folder, name, ("sample_id", "question", "answer")))
        if (uid := row["sample_id"]) in clouds and uid not in BROKEN
    ]


def _nothing(test: bool) -> str:
    half = "test" if test else "train"
    return f"data/cap3d leaves nothing to {half} on: some 1,000 objects are held out; bring more, with their clouds."
