"""What is said and asked about a sound: several phrasings of each caption and question, and the answers.

All of it follows from the instrument and the phrase. It knows no sound file and no split.
"""

from collections.abc import Sequence
from random import Random

from modalities.audio.instruments import Event, Instrument
from modalities.audio.phrases import Phrase

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
DESCRIBE = (
    "Describe this sound.",
    "What do you hear?",
    "What can be heard in this recording?",
    "Describe the recording briefly.",
    "Write a caption for this sound.",
)
ASK = {
    "instrument": (
        "Which instrument is playing?",
        "What instrument is this?",
        "Which instrument do you hear?",
        "What instrument is played here?",
        "Name the instrument.",
    ),
    "event": (
        "What makes this sound?",
        "Where does this sound come from?",
        "What is the source of this sound?",
        "Which thing makes this noise?",
    ),
    "family": (
        "Which family of instruments is it from?",
        "What family does the instrument belong to?",
        "To which family of instruments does it belong?",
        "What kind of instrument is playing?",
    ),
    "count": (
        "How many {notes} are played?",
        "How many {notes} do you hear?",
        "How many {notes} are there?",
        "Count the {notes}.",
    ),
    "direction": (
        "Does the melody rise or fall?",
        "Which way does the melody go?",
        "How does the melody move?",
        "In which direction do the notes go?",
    ),
    "speed": (
        "Is it played fast or slow?",
        "Are the {notes} fast or slow?",
        "Is the tempo fast or slow?",
        "How fast is it played?",
    ),
    "register": (
        "Is the pitch low, middle or high?",
        "How high are the notes?",
        "In which register is it played?",
        "Are the notes low, middle or high?",
    ),
}
SINGLE = (
    "{subject} {verb} a single {notes}",
    "a single {notes} {done} {subject}",
    "{subject} {doing} one {notes}",
    "one {notes} is {done} {subject}",
    "the sound of a single {notes} {done} {subject}",
)
SEVERAL = (
    "{subject} {verb} {notes}{where}",
    "{notes} {done} {subject}{where}",
    "{subject} {doing} {notes}{where}",
    "{notes} are {done} {subject}{where}",
    "the sound of {notes} {done} {subject}{where}",
)
MOVES = {  # accepted answers, the training target first
    "rising": ("rising", "it rises", "up"),
    "falling": ("falling", "it falls", "down"),
    "repeated": ("repeated", "it repeats one note", "neither"),
    "up and down": ("up and down", "it goes up and down", "both"),
}

Asked = tuple[str, tuple[str, ...]]  # a question and its accepted answers, the training target first


def caption(instrument: Instrument, program: int, phrase: Phrase, random: Random) -> Asked:
    """Captions of an instrument's phrase."""
    one, many = instrument.notes
    count = len(phrase.keys)
    words = {
        "subject": instrument.spoken(program),
        "verb": instrument.verb,
        "doing": "singing" if instrument.sings else "playing",
        "done": "sung by" if instrument.sings else "played by",
        "where": f" in the {phrase.register} register" if phrase.register else "",
    }
    if count == 1:
        words["notes"] = " ".join(filter(None, (phrase.register, one)))
        return random.choice(DESCRIBE), _shuffled([form.format(**words) for form in SINGLE], random)
    sideways = phrase.direction == "up and down"
    before = (NUMBERS[count], phrase.speed, "" if sideways else phrase.direction, many)
    words["notes"] = " ".join(filter(None, before)) + (" that go up and down" if sideways else "")
    return random.choice(DESCRIBE), _shuffled([form.format(**words) for form in SEVERAL], random)


def scene(event: Event, random: Random) -> Asked:
    """Captions of a sound that is no instrument."""
    return random.choice(DESCRIBE), _shuffled(event.captions, random)


def source(event: Event, random: Random) -> Asked:
    """What makes a sound that is no instrument."""
    bare = event.name.removeprefix("a ").removeprefix("the ")
    return random.choice(ASK["event"]), tuple(dict.fromkeys((event.name, bare)))


def answers(topic: str, instrument: Instrument, phrase: Phrase) -> tuple[str, ...]:
    """The accepted answers to a question about a phrase, the training target first; () where it has none."""
    count = len(phrase.keys)
    match topic:
        case "instrument":
            return (instrument.name,)
        case "family":
            return (instrument.family,)
        case "count":
            return NUMBERS[count], str(count)
        case "direction":
            return MOVES.get(phrase.direction, ())
        case "speed":
            return (phrase.speed,) if phrase.speed else ()
        case "register":  # of an instrument that plays in one only, it could be told without listening
            return (phrase.register,) if len(instrument.registers) > 1 else ()
    raise AssertionError(f"There is no topic {topic!r}.")


def question(topic: str, instrument: Instrument, random: Random) -> str:
    """One wording of a topic's question."""
    return random.choice(ASK[topic]).format(notes=instrument.notes[1])


def _shuffled(phrases: Sequence[str], random: Random) -> tuple[str, ...]:
    return tuple(random.sample(phrases, len(phrases)))
