"""A conversation: what was said, what was shown, and which files the next question is about.

The server is stateless, so each question carries its files: those dropped since the last answer or, when there are
none, the ones of the question before. This file knows no server and no page.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ui.media import Media

# What is asked when a file is sent without a word.
DEFAULT_QUESTION = "What is this?"


@dataclass(frozen=True, slots=True)
class Shown:
    """A file on the page, and what there is to see of it."""

    media: Media
    preview: Path | None


@dataclass(slots=True)
class Turn:
    """One bubble. Small below it: the checkpoint that answered, and how the answer ended."""

    role: Literal["user", "assistant"]
    text: str = ""
    shown: Shown | None = None
    checkpoint: str = ""
    ending: str = ""
    state: Literal["done", "writing", "failed"] = "done"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked now, of which files, and the turn in which the answer goes."""

    about: tuple[Media, ...]
    text: str
    answer: Turn

    def prompt(self) -> list[dict[str, str]]:
        """The parts of the prompt: the files first, then the text."""
        return [*(media.part() for media in self.about), {"text": self.text}]


@dataclass(slots=True)
class Conversation:
    """All turns so far, and the files that are being talked about."""

    turns: list[Turn] = field(default_factory=list)
    about: tuple[Media, ...] = ()
    fresh: bool = False  # dropped, and not asked about yet

    def show(self, shown: Shown) -> None:
        """Adds a dropped file; the first one after a question replaces what was talked about before."""
        self.about = (*self.about, shown.media) if self.fresh else (shown.media,)
        self.fresh = True
        self.turns.append(Turn("user", shown=shown))

    def refuse(self, sentence: str) -> None:
        """Says, where an answer would stand, why something was not taken."""
        self.turns.append(Turn("assistant", ending=sentence, state="failed"))

    def forget(self) -> None:
        """The next question is about no file. What was shown stays on the page."""
        self.about, self.fresh = (), False

    def clear(self) -> None:
        """Begins anew."""
        self.turns.clear()
        self.forget()

    def ask(self, text: str) -> Question | None:
        """Adds a question and the empty turn of its answer; None when there is nothing to ask."""
        words = text.strip() or (DEFAULT_QUESTION if self.fresh else "")
        if not words:
            return None
        self.fresh = False
        answer = Turn("assistant", state="writing")
        self.turns += [Turn("user", words), answer]
        return Question(self.about, words, answer)

    def subject(self) -> str:
        """The names of the files that the next question is about."""
        return ", ".join(media.name for media in self.about)
