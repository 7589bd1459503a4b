"""Multiple choice over media: four options by their letters, and how a model is asked for one.

It knows no modality, no file format and no score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from modalities.base import TEXT, Part, Sample

LETTERS = "ABCD"
ASK = "Answer with the letter of the right option."


@dataclass(frozen=True)
class Choice:
    """A question about some media, in their order, with four options; `right` is the place of the right one."""

    id: str
    parts: tuple[Part, ...]  # before the question: media, and text between them where there is any
    question: str
    options: tuple[str, ...]
    right: int
    kind: str = "choice"

    @property
    def media(self) -> tuple[Part, ...]:
        """The parts that are no text."""
        return tuple(part for part in self.parts if part.modality != TEXT)

    @property
    def letter(self) -> str:
        """Of the right option."""
        return LETTERS[self.right]

    @property
    def sample(self) -> Sample:
        """As a model is asked it: the letter is what it learns to say, the option's text is right too."""
        prompt = (*self.parts, Part(TEXT, asked(self.question, self.options)))
        return Sample(self.id, "qa", prompt, (self.letter, self.options[self.right]), self.kind)


def asked(question: str, options: Sequence[str]) -> str:
    """The question, the options line by line, and what to answer with."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True)]
    return "\n".join((question, *lines, ASK))
