"""The picture datasets of photographs: Tux Paint's stamps, with the captions that people wrote for them.

A second source beside emoji art, so that a photograph of a real thing is named too. Where the package cannot be had,
pictures do without it, and say so. It knows neither encoder nor backbone, nor how an emoji is drawn.
"""

import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

from PIL import Image
from tqdm import tqdm

from modalities import userdata
from modalities.assets import AssetError, build, fetch
from modalities.base import Dataset
from modalities.image import MODALITY
from modalities.image.concepts import article
from modalities.image.pictures import SIDE
from modalities.image.plan import TINTS, WHITE
from modalities.image.wording import DESCRIBE, IDENTITY, KIND
from modalities.packages import TUXPAINT_STAMPS

VERSION = "stamps-2022.06.04-v1"  # change it whenever another picture or another word comes out
ROOT = Path("usr", "share", "tuxpaint", "stamps")  # inside the fetched package
COPIES = {"train": 3, "test": 1}  # pictures of one stamp: there are few, so each is learned from more than once
SMALLEST = 40  # pixels of a stamp's longer side
COLOURS = 400  # that a photograph has at least; a drawing has fewer
FORMS = (
    "a photo of {}",
    "a photograph of {}",
    "a picture of {}",
    "a close-up photo of {}",
    "a photo that shows {}",
    "{}",
)


@dataclass(frozen=True)
class Stamp:
    """A photograph and what its people say it shows."""

    path: Path
    name: str  # with its article: "a great blue heron"
    kind: str

    @property
    def held_out(self) -> bool:
        """Whether it is tested on; apple_1 and apple_2 stay on one side."""
        stem = re.split(r"[\d_-]", self.path.stem)[0]
        return crc32(f"{self.kind} {stem}".encode()) % 5 == 0


def load(store: Path) -> list[Dataset]:
    """`stamps-caption` and `stamps-qa`, fetched and drawn when they are missing; nothing where that cannot be done."""
    try:
        folder = build(store, VERSION, lambda aside: make(fetch(store, TUXPAINT_STAMPS) / ROOT, aside), kind="data")
    except AssetError as error:
        tqdm.write(f"Pictures do without photographs: {error}", file=sys.stderr)
        return []
    return [replace(one, name=f"stamps-{one.task}") for one in userdata.folder(MODALITY, folder)]


def stamps(root: Path) -> list[Stamp]:
    """The photographs of things that have a kind and a plain name, in the order of their paths."""
    kinds = tomllib.loads((Path(__file__).parent / "stamps.toml").read_text("utf-8"))
    found = []
    for path in sorted(root.rglob("*.png")):
        inside = path.relative_to(root).parent
        kind = next((kinds[str(one)] for one in (inside, *inside.parents) if str(one) in kinds), "")
        name = _name(path.with_suffix(".txt"))
        if kind and name and "cartoon" not in inside.parts and _is_photograph(path):
            found.append(Stamp(path, name, kind))
    return found


def make(root: Path, folder: Path) -> None:
    """Fill a folder with the pictures and the two splits."""
    lines: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    known = stamps(root)
    trained = Counter(stamp.kind for stamp in known if not stamp.held_out)
    drawn: Counter[str] = Counter()
    for split in lines:
        (folder / split).mkdir()
    for number, stamp in enumerate(known):
        split = "test" if stamp.held_out else "train"
        for copy in range(COPIES[split]):
            file = f"{split}/{number:03d}-{stamp.path.stem.lower()}-{copy}.png"
            random = Random(f"{stamp.path.relative_to(root)} {copy}")
            draw(stamp, random, mirrored=copy == 1).save(folder / file)
            facts = {"kind": trained[stamp.kind] > 1, "shown": drawn[split] % 2 == 0}
            lines[split] += _lines(stamp, file, known, random, **facts)
            drawn[split] += 1
    for split, written in lines.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in written)
        (folder / f"{split}.jsonl").write_text(text, "utf-8")


def draw(stamp: Stamp, random: Random, *, mirrored: bool) -> Image.Image:
    """The stamp on a plain background, SIDE by SIDE, RGB."""
    with Image.open(stamp.path) as image:
        cut = image.convert("RGBA")
    cut = cut.crop(cut.getchannel("A").getbbox())
    if mirrored:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = random.randint(200, 250) / max(cut.size)
    shape = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    background = WHITE if random.random() < 0.5 else random.choice(TINTS)
    canvas = Image.new("RGBA", (SIDE, SIDE), (*background, 255))
    canvas.alpha_composite(
        cut.resize(shape, Image.Resampling.LANCZOS), ((SIDE - shape[0]) // 2, (SIDE - shape[1]) // 2)
    )
    return canvas.convert("RGB")


def _lines(
    stamp: Stamp, file: str, known: list[Stamp], random: Random, *, kind: bool, shown: bool
) -> Iterator[dict[str, Any]]:
    """A caption, the kind of thing where that is asked, and whether it is what is `shown` or another thing."""
    said = [form.format(stamp.name) for form in (*random.sample(FORMS[:-1], len(FORMS) - 1), FORMS[-1])]
    yield _line(file, "caption", "photo", random.choice(DESCRIBE), said)
    if kind:
        yield _line(file, "qa", "photo kind", random.choice(KIND), [stamp.kind])
    other = random.choice([one for one in known if not _alike(one, stamp)])
    question = random.choice(IDENTITY).format(stamp.name if shown else other.name)
    yield _line(file, "qa", "photo identity", question, ["yes" if shown else "no"])


def _line(file: str, task: str, topic: str, question: str, answers: list[str]) -> dict[str, Any]:
    slug = f"{Path(file).parent}-{Path(file).stem}-{topic.replace(' ', '-')}"
    return {"id": slug, "task": task, "media": file, "question": question, "answers": answers, "topic": topic}


def _alike(one: Stamp, other: Stamp) -> bool:
    """Whether the two share a word, so that the one could be called the other."""
    return not {*one.name.split()[1:]}.isdisjoint(other.name.split()[1:])


def _name(path: Path) -> str | None:
    """`A great blue heron.` -> "a great blue heron"; None for what is no plain name of one thing."""
    first = path.read_text("utf-8", errors="replace").splitlines()[:1] if path.is_file() else []
    match = re.fullmatch(r"(An?) ([A-Za-z][A-Za-z' -]*)[.!]", first[0].strip()) if first else None
    if match is None or not 1 <= len(match[2].split()) <= 5 or " is " in match[2]:
        return None
    return f"{article(match[2])} {match[2]}"


def _is_photograph(path: Path) -> bool:
    """A stamp that is drawn has a file to draw it from beside it, or few colours."""
    if path.with_suffix(".svg").exists():
        return False
    with Image.open(path) as image:
        colours = image.convert("RGBA").getcolors(COLOURS)
        return colours is None and max(image.size) >= SMALLEST
