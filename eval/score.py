"""From predictions to scores: CIDEr for captions, the judge for answers. It knows no model and no checkpoint.

CIDEr is on the paper's scale (times 100), an answer scores 0 or 1; a dataset's score is the mean over its items.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pycocoevalcap.cider.cider_scorer import CiderScorer
from pycocoevalcap.tokenizer import ptbtokenizer

from eval import EvalError
from eval.judge import correct
from modalities.base import Task

NO_JAVA = "CIDEr needs Java: apt-get install default-jre-headless"

_TOKENS: dict[str, str] = {}  # references come again and again, and each start of Java takes a third of a second


class Unscored(EvalError):
    """A dataset for which no score is defined. Counted as unscored, never as zero."""


def item_scores(task: Task, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """The score of each item; their mean is the dataset's. Raises Unscored and, without Java, EvalError."""
    assert len(predictions) == len(references), "Each prediction needs its references."
    if not predictions:
        raise Unscored("it has no test items; add some")
    if task == "caption":
        return cider(predictions, references)
    return [float(correct(said, answers)) for said, answers in zip(predictions, references, strict=True)]


def cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr of each caption, times 100. An empty caption scores 0; a lone item has no CIDEr.

    With one item each n-gram is in every document, its weight log(1/1) = 0, and so would any caption's score be.
    """
    if len(captions) < 2:
        raise Unscored("CIDEr weighs words by how rare they are and needs at least two items; raise --limit")
    tokens = iter(tokenize([text for said, texts in zip(captions, references, strict=True) for text in (said, *texts)]))
    scorer = CiderScorer()
    for texts in references:
        scorer.cook_append(next(tokens), [next(tokens) for _ in texts])
    scorer.compute_doc_freq()
    return [100 * float(one) for one in scorer.compute_cider()]


def tokenize(captions: Sequence[str]) -> list[str]:
    """Captions as PTB tokens in lower case without punctuation, joined by spaces.

    The tokens are pycocoevalcap's PTBTokenizer's, from the same jar. Its wrapper writes the captions into the installed
    package, which may be read-only, and decodes them by the machine's locale; here they go through a pipe, in UTF-8.
    """
    require_java()
    new = [caption for caption in dict.fromkeys(captions) if caption not in _TOKENS]
    if new:
        _TOKENS.update(zip(new, _tokenize(new), strict=True))
    return [_TOKENS[caption] for caption in captions]


def _tokenize(captions: Sequence[str]) -> list[str]:
    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    command = ["java", "-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase", "-encoding", "utf-8"]
    lines = "".join(" ".join(caption.split()) + "\n" for caption in captions)
    run = subprocess.run(command, input=lines.encode(), capture_output=True, check=False)
    tokenized = run.stdout.decode().split("\n")[:-1]
    if run.returncode or len(tokenized) != len(captions):
        said = (run.stderr.decode(errors="replace").strip() or "it gave no reason").splitlines()[-1]
        raise EvalError(f"CIDEr's tokenizer failed ({said}); see whether `java -version` works.")
    return [_words(line) for line in tokenized]


def _words(line: str) -> str:
    return " ".join(token for token in line.rstrip().split(" ") if token not in ptbtokenizer.PUNCTUATIONS)


def require_java() -> None:
    """Raises EvalError with the cure when there is no Java, before any time is spent on predicting."""
    if shutil.which("java") is None:
        raise EvalError(NO_JAVA)
