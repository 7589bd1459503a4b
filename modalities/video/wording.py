"""What is said and asked about a clip: several phrasings of each caption and question, and the answers.

All of it follows from who is shown, what is done with what, and where. It knows no file and no split.
"""

import re
from random import Random

from modalities.image.concepts import article

DESCRIBE = (
    "Describe this video.",
    "What happens in this video?",
    "What does the video show?",
    "Describe the clip briefly.",
    "Write a caption for this video.",
)
TARGETS = (  # they all say that it is a video: what is said alike of two modalities, the later one decides
    "a video of {who} {doing} {where}",
    "a clip of {who} {doing} {where}",
    "a short video of {who} {doing} {where}",
    "a video in which {who} {does} {where}",
    "a clip in which {who} {does} {where}",
    "a video that shows {who} {doing} {where}",
)
REFERENCES = ("{who} {doing} {where}", "{who} {does} {where}")
DOES = {  # the class of an action -> how a clip of it is told
    "striking": ("strikes", "attacks"),
    "shooting": ("shoots", "fires"),
    "throwing": ("throws",),
    "breathing fire": ("breathes fire",),
    "casting a spell": ("casts a spell",),
    "standing": ("stands still", "stands"),
    "running": ("runs",),
    "flying": ("flies",),
    "dying": ("falls down and dies", "dies"),
}
DOING = {
    "strikes": "striking", "attacks": "attacking", "shoots": "shooting", "fires": "shooting", "throws": "throwing",
    "breathes fire": "breathing fire", "casts a spell": "casting a spell", "stands still": "standing still",
    "stands": "standing", "runs": "running", "flies": "flying", "falls down and dies": "falling down and dying",
    "dies": "dying",
}  # fmt: skip
WHERE = {
    "grass": "on grass", "dry grass": "on dry grass", "dirt": "on dirt", "road": "on a road", "sand": "on sand",
    "snow": "on snow", "ice": "on ice", "cave floor": "on a cave floor", "swamp": "in a swamp", "water": "on water",
    "stone floor": "on a stone floor",
}  # fmt: skip
ASK = {
    "action": (
        "What is it doing?",
        "What is the figure in the video doing?",
        "Which action does the video show?",
        "What is the unit doing in this clip?",
        "What is being done in this video?",
        "Name the action in this clip.",
    ),
    "who": (
        "Who is in the video?",
        "Which unit is this?",
        "Who is shown in this clip?",
        "What is the unit in the video called?",
        "Name the unit in this video.",
    ),
    "race": (
        "What race is it?",
        "Which race does the unit belong to?",
        "To what race does the one in the video belong?",
        "Of which race is the unit in this clip?",
    ),
    "weapon": (
        "What weapon does it use?",
        "With what does it attack?",
        "Which weapon is used in this video?",
        "What does the unit in the clip attack with?",
    ),
    "ground": (
        "What is the ground?",
        "What kind of ground is it on?",
        "On what does the unit in the video stand or move?",
        "Which ground does the clip show?",
    ),
    "direction": (
        "Which way does it face?",
        "Does it face left or right?",
        "In which direction does the unit in the video look?",
        "To which side is it turned?",
    ),
}

Asked = tuple[str, tuple[str, ...]]  # a question and its accepted answers, the training target first


def caption(unit: str, action: str, weapon: str | None, ground: str, random: Random) -> Asked:
    """A request to describe, and captions; the first one says that it is a video."""
    said = []
    for form in (*random.sample(TARGETS, len(TARGETS)), *REFERENCES):
        does = random.choice(DOES[action])
        words = {"does": does + _with(action, weapon), "doing": DOING[does] + _with(action, weapon)}
        said.append(form.format(who=f"{article(unit)} {unit}", where=WHERE[ground], **words))
    return random.choice(DESCRIBE), tuple(dict.fromkeys(said))


def question(topic: str, answer: str, random: Random) -> Asked:
    """A question on one topic; a thing may be named with its article."""
    named = topic in ("who", "race", "weapon", "ground")
    accepted = (answer, f"{article(answer)} {answer}", f"the {answer}") if named else (answer,)
    return random.choice(ASK[topic]), accepted


def slug(text: str) -> str:
    """A name as a piece of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _with(action: str, weapon: str | None) -> str:
    if weapon is None:
        return ""
    return f" its {weapon}" if action == "throwing" else f" with its {weapon}"
