"""What is said and asked about a picture: several phrasings of each caption and question, and the answers.

All of it follows from concepts, counts and places. It knows no picture file and no split.
"""

from collections.abc import Sequence
from random import Random

from modalities.image.concepts import NUMBERS, Concept

DESCRIBE = (
    "Describe this picture.",
    "What do you see in this picture?",
    "What does the picture show?",
    "Describe the image briefly.",
    "Write a caption for this picture.",
)
ONE = (
    "a picture of {}",
    "a drawing of {}",
    "an illustration of {}",
    "an image of {}",
    "a picture that shows {}",
    "{}",
)
TWO = (
    "a picture of {a} {relation} {b}",
    "a drawing of {a} {relation} {b}",
    "a drawing of {b} {inverse} {a}",
    "a picture that shows {a} {relation} {b}",
    "{a} {relation} {b}",
    "{b} {inverse} {a}",
)
KIND = (
    "What kind of thing is this?",
    "What kind of thing does the picture show?",
    "What type of thing is this?",
    "Which kind of thing do you see?",
)
GROUP = (
    "Which broad category does this belong to?",
    "What broad category is this in?",
    "To which broad category does the thing in the picture belong?",
)
IDENTITY = ("Does the picture show {}?", "Is this a picture of {}?", "Is this {}?", "Does this show {}?")
COUNT = ("How many {} are there?", "How many {} do you see?", "How many {} are in the picture?")
POSITION = ("What is {} {}?", "What do you see {} {}?", "Which thing is {} {}?")
INVERSE = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}


Asked = tuple[str, tuple[str, ...]]  # a question and its accepted answers, the training target first


def caption(concept: Concept, random: Random) -> Asked:
    """Captions of one thing."""
    return random.choice(DESCRIBE), _shuffled([phrase.format(concept.name) for phrase in ONE], random, bare=1)


def scene(one: Concept, count: int, relation: str, other: Concept, random: Random) -> Asked:
    """Captions of `count` of one thing beside, above or below another."""
    words = {"a": one.several(count), "b": other.name, "relation": relation, "inverse": INVERSE[relation]}
    return random.choice(DESCRIBE), _shuffled([phrase.format(**words) for phrase in TWO], random, bare=2)


def kind(concept: Concept, random: Random) -> Asked:
    """The class-of-thing question."""
    return random.choice(KIND), (concept.kind,)


def group(concept: Concept, random: Random) -> Asked:
    """The broad category."""
    return random.choice(GROUP), (concept.group,)


def identity(shown: Concept, asked: Concept, random: Random) -> Asked:
    """Whether it is a certain thing; a thing without an article is not asked for by a bare "is this"."""
    phrases = IDENTITY if asked.plural else IDENTITY[:2]
    return random.choice(phrases).format(asked.name), ("yes" if asked == shown else "no",)


def count(concept: Concept, number: int, random: Random) -> Asked:
    """How many of one thing."""
    return random.choice(COUNT).format(concept.plural), (NUMBERS[number], str(number))


def position(wanted: Concept, number: int, relation: str, anchor: Concept, anchors: int, random: Random) -> Asked:
    """What is on a certain side of the other thing; singular, plural and counted answers are all right."""
    question = random.choice(POSITION).format(relation, anchor.definite(anchors))
    right = wanted.noun if number == 1 else str(wanted.plural)
    accepted = (right, wanted.several(number), wanted.noun, str(wanted.plural))
    return question, tuple(dict.fromkeys(accepted))


def _shuffled(phrases: Sequence[str], random: Random, bare: int) -> tuple[str, ...]:
    """All captions, the first being the target; the last `bare` phrases, which name no picture, are never that.

    They are right too, but begin as captions of other modalities do: what is learned about those would decide
    between two ways to say the same.
    """
    order = random.sample(range(len(phrases)), len(phrases))
    order.sort(key=lambda place: place >= len(phrases) - bare)
    return tuple(phrases[place] for place in order)
