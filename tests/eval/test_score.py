"""CIDEr as pycocoevalcap computes it, and the cases that it leaves open."""

from pathlib import Path

import pytest
from pycocoevalcap.cider.cider import Cider

from eval import EvalError
from eval.meteor import meteor
from eval.score import Unscored, cider, others
from eval.tokens import tokenize

REFERENCES = [
    ["a red fire-truck with a ladder", "The fire truck, painted red."],
    ["two unicorns", "a pair of white unicorns"],
    ['a sign that says "STOP"', "don't walk: a stop sign (octagonal)"],
    ["a set of tubular bells", "tubular bells, 1/2 visible"],
    ["a grey brick with 2 x 4 studs"],
]
CAPTIONS = ["a red truck with a ladder", "two unicorns", "an octagonal sign: stop!", "", "a grey plate of 2 x 4 studs"]


def test_cider_is_pycocoevalcaps_on_the_same_tokens() -> None:
    tokens = {number: tokenize(texts) for number, texts in enumerate(REFERENCES)}
    said = {number: [text] for number, text in enumerate(tokenize(CAPTIONS))}
    mean, each = Cider().compute_score(tokens, said)
    ours = cider(CAPTIONS, REFERENCES)
    assert ours == pytest.approx([100 * one for one in each], abs=1e-9)
    assert sum(ours) / len(ours) == pytest.approx(100 * mean, abs=1e-9)


def test_perfect_captions_beat_all_others() -> None:
    perfect = cider([texts[0] for texts in REFERENCES], REFERENCES)
    shuffled = cider([texts[0] for texts in REFERENCES[1:] + REFERENCES[:1]], REFERENCES)
    assert all(good > said > bad for good, said, bad in zip(perfect, cider(CAPTIONS, REFERENCES), shuffled, strict=True)
               if said not in (good, 0))  # fmt: skip
    assert min(perfect) > max(shuffled)


def test_an_empty_caption_scores_zero_and_leaves_the_others_alone() -> None:
    with_empty = cider(CAPTIONS, REFERENCES)
    with_words = cider([text or "nonsense" for text in CAPTIONS], REFERENCES)
    assert with_empty[3] == 0.0
    assert with_empty == with_words


def test_a_caption_alone_is_unscored_not_zero() -> None:
    with pytest.raises(Unscored, match="needs at least two items; raise --limit"):
        cider(["a cat"], [["a cat"]])


def test_a_caption_that_shares_no_word_scores_zero_and_leaves_the_others_alone() -> None:
    said = ["qqq", *CAPTIONS[1:]]
    assert cider(said, REFERENCES)[0] == 0.0
    assert cider(said, REFERENCES)[1:] == cider(CAPTIONS, REFERENCES)[1:]


def test_references_without_words_have_a_score_too() -> None:
    assert cider(["a cat", ""], [["..."], [""]]) == [0.0, 0.0]


def test_nothing_is_printed_and_nothing_left_behind(capfd: pytest.CaptureFixture[str]) -> None:
    import pycocoevalcap.tokenizer as package

    folder = Path(package.__path__[0])
    before = sorted(folder.iterdir())
    cider(CAPTIONS, REFERENCES)
    assert sorted(folder.iterdir()) == before
    assert capfd.readouterr() == ("", "")


def test_other_measures_of_captions_are_pycocoevalcaps_and_need_java_for_meteor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    perfect = others([texts[0] for texts in REFERENCES], REFERENCES)
    said = others(CAPTIONS, REFERENCES)
    assert set(said) == {"BLEU-4", "ROUGE-L", "METEOR"}
    assert all(0 <= said[name] < perfect[name] <= 100 for name in said)
    assert perfect["ROUGE-L"] == pytest.approx(100)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert set(others(CAPTIONS, REFERENCES)) == {"BLEU-4", "ROUGE-L"}


def test_a_meteor_that_does_not_work_is_not_taken_for_a_score(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(EvalError, match="METEOR's program failed"):
        meteor(["a cat"], [["a cat"]])
