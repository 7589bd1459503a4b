"""The paper's Table 10: what a judge is asked, to the letter, and how its reply is read. It knows no endpoint.

A reply is a Python dictionary and nothing else, or no verdict. Half a point where an integer is asked for is noted, not
fatal: the paper's own example has one.
"""

import ast
import re

from eval.judge import Asked, Mark

SYSTEM = """\
You are an intelligent chatbot designed for evaluating the correctness of generative outputs for question-answer \
pairs. Your task is to compare the predicted answer with the correct answer and determine if they match meaningfully. \
Here’s how you can accomplish the task:
##INSTRUCTIONS:
- Focus on the meaningful match between the predicted answer and the correct answer.
- Consider synonyms or paraphrases as valid matches.
- Evaluate the correctness of the prediction compared to the answer."""
USER = """\
Please evaluate the following question-answer pair:

Question: <question>
Correct Answer: <answer>
Predicted Answer: <prediction>

Provide your evaluation only as a yes/no and score where the score is an integer value between 0 and 5, with 5 \
indicating the highest meaningful match. Please generate the response in the form of a Python dictionary string with \
keys 'pred' and 'score', where value of 'pred' is a string of 'yes' or 'no' and value of 'score' is in INTEGER, not \
STRING.DO NOT PROVIDE ANY OTHER OUTPUT TEXT OR EXPLANATION. Only provide the Python dictionary string. For example, \
your response should look like this: {'pred': 'yes', 'score': 4.8}."""

LONGEST = 2000  # characters of a reply that are looked at
# An answer that speaks to the judge would be judged by what it says of itself.
_SPEAKS = re.compile(
    r"['\"]?(?:pred|score)['\"]\s*:|\b(?:correct|predicted) answer\s*:|##\s*instruction|\bquestion\s*:"
    r"|\b(?:ignore|disregard|forget)\b.{0,40}\b(?:instructions?|above|previous|prompt|rules?)\b"
    r"|\b(?:respond|reply|answer|output|say|evaluate|grade|mark|score)\b.{0,30}\b(?:pred|yes|score|correct)\b",
    re.IGNORECASE | re.DOTALL,
)


def question(asked: Asked) -> str:
    """The user's prompt about one answer; what is judged stays on its line."""
    words = {"question": asked.question, "answer": " or ".join(asked.answers), "prediction": asked.prediction}
    return re.sub("<(question|answer|prediction)>", lambda found: " ".join(words[found[1]].split()), USER)


def speaks(prediction: str) -> bool:
    """Whether an answer speaks to the judge rather than to the question."""
    return _SPEAKS.search(prediction) is not None


def parse(reply: str) -> Mark:
    """A verdict from a reply that is a Python dictionary and nothing else; anything else is unscored."""
    reply = reply.strip()
    if not reply:
        return Mark(None, "an empty reply")
    try:
        tree = ast.parse(reply[:LONGEST], mode="eval").body
        found = ast.literal_eval(tree) if isinstance(tree, ast.Dict) else None
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(tree, ast.Dict):
        return Mark(None, "a reply that is no dictionary")
    if len(found) != len(tree.keys) or not {"pred"} <= found.keys() <= {"pred", "score"}:
        return Mark(None, "a dictionary with other keys")
    said, score = found["pred"], found.get("score")
    if not isinstance(said, str) or said.strip().lower() not in ("yes", "no"):
        return Mark(None, "neither yes nor no")
    right = said.strip().lower() == "yes"
    return Mark(float(right), note=_note(right, score))


def _note(right: bool, score: object) -> str | None:
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 5:
        return "no score from 0 to 5"
    if not isinstance(score, int):
        return "a score that is no integer"
    return "a score that contradicts the verdict" if (score <= 1 if right else score >= 4) else None
