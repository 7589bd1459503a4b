"""AudioCaps and Clotho-AQA.

    data/audiocaps/   train.csv  test.csv  audio/<youtube_id>.wav (or .flac, or with _<start second> or a Y before it)
    data/clotho-aqa/  clotho_aqa_train.csv  clotho_aqa_test.csv (UTF-8, or as Windows writes it)  audio_files/*.wav

AudioCaps names videos of which many are gone: what was not downloaded is left out (the paper has 44K of 49,838). Of
Clotho-AQA only answers given with confidence "yes" are kept (paper, Appendix B).
"""

from pathlib import Path

from modalities.assets import AssetError
from modalities.base import Dataset, Sample
from modalities.paper.reading import TEST, from_csv, number, present, root, sample, some, subset, the

CAPTION = "Provide a one-sentence caption for the provided audio."
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".m4a")  # what else lies beside the sounds is no sound


def load(store: Path) -> list[Dataset]:
    """`audiocaps` and `clotho-aqa`. Raises AssetError."""
    return [_audiocaps(store), _clotho(store)]


def _audiocaps(store: Path) -> Dataset:
    folder = root(store, "audiocaps", "AudioCaps (train.csv, test.csv and the sounds in audio/)")
    heard = {path.stem: path for path in sorted(the(folder, "audio").rglob("*")) if path.suffix.lower() in SUFFIXES}
    halves: list[tuple[Sample, ...]] = []
    for split in ("train", "test"):
        said: dict[tuple[str, str], list[str]] = {}
        for row in from_csv(folder, f"{split}.csv", ("audiocap_id", "youtube_id", "start_time", "caption")):
            said.setdefault((row["youtube_id"], row["start_time"]), []).append(row["caption"])
        here = [(key, path, texts) for key, texts in said.items() if (path := _sound(heard, *key))]
        if not here:
            raise AssetError(f"data/audiocaps/audio has no sound of {split}.csv, looked for {next(iter(said))[0]}.wav.")
        chosen = here if split == "train" else subset(here, TEST)
        halves.append(
            tuple(
                sample(f"audiocaps-{video}-{start}-{place}", "caption", "audio", path, CAPTION, kept)
                for (video, start), path, texts in chosen
                for place, kept in enumerate([[text] for text in texts] if split == "train" else [texts])
            )
        )
    return Dataset("audiocaps", "caption", *halves)


def _sound(heard: dict[str, Path], video: str, start: str) -> Path | None:
    second = number(start or 0, "start_time", "AudioCaps")
    names = (video, f"Y{video}", f"{video}_{start}", f"{video}_{second}")
    return next((heard[name] for name in names if name in heard), None)


def _clotho(store: Path) -> Dataset:
    """Each question was answered by three people; a row is one answer."""
    folder = root(store, "clotho-aqa", "Clotho-AQA (clotho_aqa_train.csv, clotho_aqa_test.csv and audio_files/)")
    halves: list[tuple[Sample, ...]] = []
    for split in ("train", "test"):
        said: dict[tuple[str, str], list[str]] = {}
        name = f"clotho_aqa_{split}.csv"
        columns = ("file_name", "QuestionText", "answer", "confidence")
        for row in from_csv(folder, name, columns, otherwise="cp1252"):
            if row["confidence"].lower() == "yes":
                said.setdefault((row["file_name"], row["QuestionText"]), []).append(row["answer"])
        some(said, f"No answer in {name} has the confidence 'yes'; fetch it again from where it is published.")
        groups = list(said.items()) if split == "train" else subset(list(said.items()), TEST)
        halves.append(
            tuple(
                sample(f"clotho-{split}-{group}-{place}", "qa", "audio", folder / "audio_files" / name, question, kept)
                for group, ((name, question), answers) in enumerate(groups)
                for place, kept in enumerate([[one] for one in answers] if split == "train" else [answers])
            )
        )
    present((Path(str(s.prompt[0].content)) for half in halves for s in half), folder)
    return Dataset("clotho-aqa", "qa", *halves)
