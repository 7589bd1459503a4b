"""METEOR 1.5 through the jar that pycocoevalcap brings, for a reader who wants it; it takes a Java runtime.

It knows neither a tokenizer nor what the figure is for.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pycocoevalcap

from eval import EvalError

JAR = "meteor-1.5.jar"
COMMAND = ["java", "-Xmx2G", "-jar", JAR, "-", "-", "-stdio", "-l", "en", "-norm"]


def meteor(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """METEOR of all captions together, 0 to 1; captions are tokens joined by spaces. Raises EvalError."""
    try:
        return _asked(captions, references)
    except (OSError, ValueError):  # also from closing a pipe whose other end has gone
        raise EvalError(
            "METEOR's program failed; see whether `java -version` works, or leave --metrics away."
        ) from None


def _asked(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    folder = Path(pycocoevalcap.__path__[0]) / "meteor"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        COMMAND, cwd=folder, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None

        def ask(line: str) -> str:
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(line + "\n")
            program.stdin.flush()
            return program.stdout.readline().strip()

        counts = [
            ask(" ||| ".join(["SCORE", *(one.replace("|||", "") for one in (*texts, said))]))
            for said, texts in zip(captions, references, strict=True)
        ]
        first = ask(" ||| ".join(["EVAL", *counts]))  # a line for each item, then one for all
        lines = [first, *(program.stdout.readline() for _ in counts)]
        program.stdin.close()
        return float(lines[-1])
