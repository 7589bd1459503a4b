"""From LDraw's descriptions to plain English: what a part is called, and what can be said of it.

Only words from the tables of words.toml are ever said; what they do not hold ("Type 2", "#31", "Formed") is left out,
so that every phrase is grammatical. It knows no file and no question.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

_WORDS = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_SAID = rf"\d+|{'|'.join(_NUMBERS[1:])}"


@dataclass(frozen=True, slots=True)
class Name:
    """What can be said of a part in plain words."""

    kind: str  # "slope": the part's type
    noun: str  # "slope", or a closer word
    adjectives: str = ""  # "double inverted"
    size: str = ""  # "2 by 4 studs"
    feature: str = ""  # "with an axle hole"

    def phrase(self, colour: str) -> str:
        """'a red double inverted slope', 'a pair of red legs'."""
        words = " ".join(filter(None, (colour, self.adjectives, self.noun)))
        group = _WORDS["group"].get(self.noun)
        return f"a {group} of {words}" if group else f"{article(words)} {words}"

    def captions(self, colour: str) -> tuple[str, ...]:
        """The same thing said in several ways, each naming the colour, the noun and what else is known."""
        thing, plain = self.phrase(colour), self.phrase("")
        feature = f", {self.feature}" if self.size and self.feature else f" {self.feature}" if self.feature else ""
        rest = (f", {self.size}" if self.size else "") + feature
        return (
            f"{thing}{rest}",
            f"this is {thing}{rest}",
            f"{plain} in {colour}{rest}",
            f"a 3D model of {thing}{rest}",
            f"{plain} coloured {colour}{rest}",
            f"a building-set part: {thing}{rest}",
        )


def name(category: str, description: str, longest: float) -> Name | None:
    """The part's name, given its longest side in studs; None where the tables hold no word for it."""
    text = re.sub(rf"^(({_WORDS['brand']}) )+", "", re.sub(r"\(.*?\)|\[.*?\]|\"", "", description)).strip()
    for kind, categories, pattern in _WORDS["kinds"]:
        if re.fullmatch(categories or ".*", category) and re.search(pattern, text):
            head, _, tail = text.partition(" with ")
            noun = _noun(kind, text)
            return Name(kind, noun, _adjectives(head, noun), _size(kind, head, longest), _feature(kind, head, tail))
    return None


def article(words: str) -> str:
    """'a' or 'an', by how the first word sounds."""
    return "an" if re.match(r"(?!uni|use|one|u-)[aeiou]", words, re.IGNORECASE) else "a"


def _noun(kind: str, text: str) -> str:
    low = text.lower()
    if kind == "animal" or kind.startswith("animal "):
        creature = re.search(rf"\b({_WORDS['creatures']})\b", low)
        return f"{creature[1]}{kind.removeprefix('animal')}" if creature else kind
    closer = _WORDS["closer"].get(kind, kind).split("|")
    return next((word for word in closer if all(re.search(rf"\b{part}s?\b", low) for part in word.split())), kind)


def _adjectives(head: str, noun: str) -> str:
    found = dict.fromkeys(re.findall(rf"\b({_WORDS['adjectives']})\b", head.split(" without ")[0].lower()))
    words = [_WORDS["plain"].get(word, word) for word in found if word not in noun]
    return " ".join(words[:2])


def _size(kind: str, head: str, longest: float) -> str:
    if kind in _WORDS["studded"].split("|"):
        found = re.search(r"\b(\d+) x (\d+)(?: x (\d+(?:\.\d+)?))?(?![\d./]| x)", head)
        if found:
            high = found[3] or ""
            high = f" and {high} bricks high" if high.isdigit() and int(high) > 1 else ""
            return f"{found[1]} by {found[2]} stud{'' if found[1] == found[2] == '1' else 's'}{high}"
    if kind in _WORDS["long"].split("|"):
        found = re.search(r"(?<![\d.])(?<!x )\b(?:1 x )?(\d+)L?\b(?! x|[./°])", head)
        # Some numbers are angles, and some parts are shorter when compressed: the mesh knows.
        return f"{found[1]} studs long" if found and 1 < int(found[1]) < longest + 0.5 < int(found[1]) + 1 else ""
    return ""


def _feature(kind: str, head: str, tail: str) -> str:
    if kind.endswith("gear") and (teeth := re.search(r"(\d+) Tooth", head)):
        return f"with {teeth[1]} teeth"
    if kind == "propeller" and (blades := re.search(r"(\d+) Blade", head)):
        return f"with {_counted(blades[1], 'a blade', 'blades', plural=True)}"
    if kind in ("wheel", "propeller") and re.match(r"\d+ Studs", tail):
        return ""  # of the hub: nobody would say so
    first = re.split(r" with | and |, | without ", tail)[0].lower()
    for pattern, one, many in _WORDS["features"]:
        counted = rf"(?:({_SAID}) )?(?:{pattern})(s|es)?"
        found = re.fullmatch(counted + r"(?: on (?:top|end|side|both sides))?", first)
        if found:
            return f"with {_counted(found[1], one, many, plural=bool(found[2]) or first.endswith(('teeth', 'sides')))}"
    return "without studs" if re.search(r"(without|no) studs\b", f"{head} {tail}".lower()) else ""


def _counted(number: str | None, one: str, many: str, *, plural: bool) -> str:
    count = _NUMBERS.index(number) if number in _NUMBERS else int(number) if number else None
    if count is None:
        return (many if plural else one) or one or many
    if count == 1:
        return one or many
    return f"{_NUMBERS[count] if count < len(_NUMBERS) else count} {many or one}"
