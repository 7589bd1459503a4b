"""How long do scoring and bootstrapping take? 4,000 items, half captions, half answers, of a checkpoint and its expert.

    python bench/scoring.py

Captions have five references each and are made of words drawn by seed, so that nothing is in a cache. Prints JSON: the
seconds of tokenizing and CIDEr, of judging by exact match, and of 2,000 resamples with all bounds.
"""

import argparse
import json
import random
import sys
import time
from typing import Any

from eval.bootstrap import RESAMPLES
from eval.figures import bounds
from eval.judge import Asked, ExactMatch
from eval.score import cider
from eval.tokens import tokenizer

REFERENCES = 5


def sentence(draw: random.Random) -> str:
    """A caption of 6 to 14 words, commoner ones more often."""
    words = [f"word{int(draw.paretovariate(0.7)) % 4000}" for _ in range(draw.randint(6, 14))]
    return "a " + " ".join(words) + "."


def run(items: int, resamples: int) -> dict[str, Any]:
    """The whole measurement."""
    draw, half = random.Random(0), items // 2
    references = [[sentence(draw) for _ in range(REFERENCES)] for _ in range(half)]
    said = [[draw.choice([texts[0], sentence(draw)]) for texts in references] for _ in range(2)]
    start = time.perf_counter()
    scores = [cider(captions, references) for captions in said]
    captioned = time.perf_counter()
    judge = ExactMatch()
    asked = [
        [Asked("What?", (f"the {n % 7}th one", "none"), f"The {draw.randrange(7)}th one.") for n in range(half)]
        for _ in range(2)
    ]
    marks = [[mark.score or 0.0 for mark in judge.marks(one)] for one in asked]
    judged = time.perf_counter()
    pairs = {"one": {"captions": (scores[0], scores[1]), "answers": (marks[0], marks[1])}}
    made = bounds({"one": ("captions", "answers")}, pairs, resamples=resamples)
    end = time.perf_counter()
    return {
        "items": items,
        "resamples": resamples,
        "tokenizer": tokenizer(),
        "captions_seconds": round(captioned - start, 2),
        "answers_seconds": round(judged - captioned, 2),
        "bootstrap_seconds": round(end - judged, 2),
        "all_seconds": round(end - start, 2),
        "width": made.modalities["one"].upper - made.modalities["one"].lower,
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--items", type=int, default=4000)
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    options = parser.parse_args()
    json.dump(run(options.items, options.resamples), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
