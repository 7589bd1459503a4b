"""Cap3D and Cap3D-QA over Objaverse's coloured point clouds.

    data/cap3d/  Cap3D_automated_Objaverse_full.csv  CAP3DQA_final.csv  8192_npy/<uid>_8192.npy (PointLLM's)

Captions of more than 100 letters are left out; 50K captions and 30K questions are drawn to train on (paper,
Appendix B). Which objects the paper held out is not published: 1,000 of those with both are, drawn by seed, and
neither dataset trains on them.
"""

from pathlib import Path

from modalities.assets import AssetError
from modalities.base import Dataset, Sample
from modalities.paper.reading import TEST, from_csv, root, sample, subset, the

CAPTION = "Provide a one-sentence caption for the provided point cloud."
LETTERS = 100
CAPTIONS, QUESTIONS = 50_000, 30_000
BROKEN = {"6760e543e1d645d5aaacd3803bcae524", "b91c0711149d460a8004f9c06d3b7f38"}  # PointLLM: their colours are damaged


def load(store: Path) -> list[Dataset]:
    """`cap3d` and `cap3d-qa`. Raises AssetError."""
    folder = root(store, "cap3d", "Cap3D's CSV, CAP3DQA_final.csv and PointLLM's 8192_npy")
    clouds = {path.name.removesuffix("_8192.npy"): path for path in the(folder, "8192_npy").glob("*_8192.npy")}
    said = {
        row["uid"]: row["caption"]
        for row in from_csv(folder, "Cap3D_automated_Objaverse_full.csv", ("uid", "caption"), header=False)
        if row["uid"] in clouds and row["uid"] not in BROKEN and 0 < len(row["caption"]) <= LETTERS
    }
    if not said:
        raise AssetError(
            "data/cap3d/8192_npy has no cloud of a captioned object, looked for <uid>_8192.npy; unpack it."
        )
    rows = from_csv(folder, "CAP3DQA_final.csv", ("sample_id", "question", "answer"))
    asked = [
        (
            row["sample_id"],
            sample(f"cap3dqa-{number}", "qa", "pointcloud", clouds[row["sample_id"]], row["question"], [row["answer"]]),
        )
        for number, row in enumerate(rows)
        if row["sample_id"] in clouds and row["sample_id"] not in BROKEN
    ]
    held = set(subset(sorted(said.keys() & {uid for uid, _ in asked}), TEST))

    def captions(test: bool) -> list[Sample]:
        chosen = [uid for uid in said if (uid in held) == test]
        return [sample(f"cap3d-{uid}", "caption", "pointcloud", clouds[uid], CAPTION, [said[uid]]) for uid in chosen]

    def questions(test: bool) -> list[Sample]:
        return [one for uid, one in asked if (uid in held) == test]

    return [
        Dataset("cap3d", "caption", tuple(subset(captions(False), CAPTIONS)), tuple(captions(True))),
        Dataset("cap3d-qa", "qa", tuple(subset(questions(False), QUESTIONS)), tuple(subset(questions(True), TEST))),
    ]
