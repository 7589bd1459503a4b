"""Captions as PTB tokens, which is what CIDEr counts: by Stanford's tokenizer where there is Java, else by our own.

The jar is pycocoevalcap's. Its wrapper writes the captions into the installed package, which may be read-only, and
decodes them by the machine's locale; here they go through a pipe, in UTF-8. Our own (eval/ptb.py) gives the same tokens
on every caption of the built-in datasets and on a list of nasty ones. It knows no score.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pycocoevalcap.tokenizer import ptbtokenizer

from eval import EvalError, ptb

_TOKENS: dict[
    tuple[bool, str], str
] = {}  # references come again and again, and Java takes a third of a second to start


def tokenizer() -> str:
    """Which tokenizer is used here, in words."""
    return "by Stanford's PTB tokenizer" if has_java() else "by our own PTB tokenizer, for there is no Java"


def has_java() -> bool:
    """Whether there is a Java runtime."""
    return shutil.which("java") is not None


def tokenize(captions: Sequence[str]) -> list[str]:
    """Captions as PTB tokens in lower case without punctuation, joined by spaces. Raises EvalError."""
    java = has_java()
    new = [caption for caption in dict.fromkeys(captions) if (java, caption) not in _TOKENS]
    if new:
        made = by_java(new) if java else [" ".join(ptb.tokens(one)) for one in new]
        _TOKENS.update({(java, caption): _words(line) for caption, line in zip(new, made, strict=True)})
    return [_TOKENS[java, caption] for caption in captions]


def by_java(captions: Sequence[str]) -> list[str]:
    """Each caption's tokens, punctuation included, by Stanford's tokenizer. Raises EvalError."""
    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    command = ["java", "-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase", "-encoding", "utf-8"]
    lines = "".join(" ".join(caption.split()) + "\n" for caption in captions)
    run = subprocess.run(command, input=lines.encode(), capture_output=True, check=False)
    tokenized = run.stdout.decode().split("\n")[:-1]
    if run.returncode or len(tokenized) != len(captions):
        said = (run.stderr.decode(errors="replace").strip() or "it gave no reason").splitlines()[-1]
        raise EvalError(f"CIDEr's tokenizer failed ({said}); see whether `java -version` works.")
    return [line.rstrip() for line in tokenized]


def _words(line: str) -> str:
    return " ".join(token for token in line.split(" ") if token not in ptbtokenizer.PUNCTUATIONS)
