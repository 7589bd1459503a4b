"""Files on their way into a prompt: which sense takes a file, and why one is refused.

The server's list decides; nothing here knows a modality or a file format.
"""

import base64
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from ui.client import Live, Sense


class Refused(Exception):
    """A file that the live checkpoint cannot take. The message can be shown as it is."""


@dataclass(frozen=True, slots=True)
class Media:
    """A file that was dropped, and the sense that will take it."""

    path: Path
    sense: str
    media_type: str

    @property
    def name(self) -> str:
        """What the person calls it."""
        return self.path.name

    @property
    def display(self) -> str:
        """How to show it: the top level of its media type (image, audio, video, model, …)."""
        return self.media_type.partition("/")[0]

    def part(self) -> dict[str, str]:
        """The part of a prompt that carries it; its key is the modality's name."""
        return {self.sense: base64.b64encode(self.path.read_bytes()).decode()}


def accept(path: Path, live: Live) -> Media:
    """The sense that takes this file; raises Refused with a sentence that lists what is understood."""
    guessed = mimetypes.guess_type(path.name)[0] or ""
    sense = _by_suffix(path.name.lower(), live) or _by_media_type(guessed, live)
    if sense is None:
        kind = f"{path.suffix} files" if path.suffix else "files without a suffix"
        raise Refused(f"“{path.name}” was left out: the model does not understand {kind} yet. {offer(live)}")
    size = path.stat().st_size
    if size > sense.max_bytes:
        raise Refused(
            f"“{path.name}” was left out: it has {megabytes(size)}, and {sense.name} files may have"
            f" {megabytes(sense.max_bytes)} at most. Please drop a smaller one."
        )
    media_type = guessed if guessed in sense.media_types or not sense.media_types else sense.media_types[0]
    return Media(path, sense.name, media_type)


def offer(live: Live) -> str:
    """What can be dropped, as a sentence."""
    if not live.modalities:
        return "For now it understands text only."
    return f"It understands {'; '.join(describe(sense) for sense in live.modalities)}."


def describe(sense: Sense) -> str:
    """A sense in a few words: its name and the files it takes."""
    return f"{sense.name} ({', '.join(sense.suffixes or sense.media_types)})"


def megabytes(size: int) -> str:
    """A size for people; never rounded to nothing."""
    for factor, unit in ((1_000_000, "MB"), (1_000, "kB")):
        if size >= factor:
            return f"{size / factor:.{0 if size >= 10 * factor else 1}f}".removesuffix(".0") + f" {unit}"
    return f"{size} bytes"


def _by_suffix(name: str, live: Live) -> Sense | None:
    """The longest suffix wins, so that a compound one (.tar.gz) is stronger than its end."""
    fits = [(len(suffix), sense) for sense in live.modalities for suffix in sense.suffixes if name.endswith(suffix)]
    return max(fits, key=lambda fit: fit[0])[1] if fits else None


def _by_media_type(media_type: str, live: Live) -> Sense | None:
    return next((sense for sense in live.modalities if media_type in sense.media_types), None)
