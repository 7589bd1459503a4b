"""Scores of captions: CIDEr, and beside it BLEU-4, ROUGE-L and METEOR, which the gate does not look at.

CIDEr is CIDEr-D, pycocoevalcap's, on the paper's scale (times 100). An empty caption, or one that shares no word with
its references, scores 0; a lone item has no CIDEr. SPICE is left out: it needs models that its package fetches when it
is first used. It knows no model and no checkpoint.
"""

from collections.abc import Sequence

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider_scorer import CiderScorer
from pycocoevalcap.rouge.rouge import Rouge

from eval import EvalError
from eval.meteor import meteor
from eval.tokens import has_java, tokenize

References = Sequence[Sequence[str]]


class Unscored(EvalError):
    """A dataset for which no score is defined. Counted as unscored, never as zero."""


def cider(captions: Sequence[str], references: References) -> list[float]:
    """CIDEr of each caption, times 100; their mean is the dataset's. Raises Unscored.

    With one item each n-gram is in every document, its weight log(1/1) = 0, and so would any caption's score be.
    """
    if len(captions) < 2:
        raise Unscored("CIDEr weighs words by how rare they are and needs at least two items; raise --limit")
    return cider_of_tokens(*_tokens(captions, references))


def cider_of_tokens(captions: Sequence[str], references: References) -> list[float]:
    """The same of captions that are tokens already, joined by spaces."""
    scorer = CiderScorer()
    for said, texts in zip(captions, references, strict=True):
        scorer.cook_append(said, texts)
    scorer.compute_doc_freq()
    return [100 * float(one) for one in scorer.compute_cider()]


def others(captions: Sequence[str], references: References) -> dict[str, float]:
    """BLEU-4 and ROUGE-L, and METEOR where there is Java; each on the scale of 0 to 100."""
    said, texts = _tokens(captions, references)
    given = {place: [one] for place, one in enumerate(said)}
    wanted = dict(enumerate(texts))
    bleu, _ = Bleu(4).compute_score(wanted, given, verbose=0)
    rouge, _ = Rouge().compute_score(wanted, given)
    found = {"BLEU-4": 100 * float(bleu[3]), "ROUGE-L": 100 * float(rouge)}
    return found | ({"METEOR": 100 * meteor(said, texts)} if has_java() else {})


def _tokens(captions: Sequence[str], references: References) -> tuple[list[str], list[list[str]]]:
    assert len(captions) == len(references), "Each caption needs its references."
    tokens = iter(tokenize([text for said, texts in zip(captions, references, strict=True) for text in (said, *texts)]))
    pairs = [(next(tokens), [next(tokens) for _ in texts]) for texts in references]
    return [said for said, _ in pairs], [texts for _, texts in pairs]
