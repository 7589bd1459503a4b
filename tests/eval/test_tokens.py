"""Our own PTB tokenizer gives the jar's tokens, on nasty captions and on every caption of the built-in datasets."""

import json
from pathlib import Path

import pytest
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from eval import EvalError, ptb
from eval.tokens import by_java, tokenize, tokenizer
from modalities.base import builtin, find

NASTY = json.loads(Path(__file__).with_name("nasty_captions.json").read_text())


def different(captions: list[str], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """The captions of which the two tokenizers make other words."""
    theirs = tokenize(captions)
    monkeypatch.setattr("eval.tokens.has_java", lambda: False)
    ours = tokenize(captions)
    monkeypatch.undo()
    return [(one, a, b) for one, a, b in zip(captions, theirs, ours, strict=True) if a != b]


def test_nasty_captions_have_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(NASTY) > 400
    assert different(NASTY, monkeypatch) == []


@pytest.mark.parametrize("name", builtin())
def test_every_caption_and_answer_of_a_dataset_has_the_same_tokens(
    name: str, shared_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {
        text
        for one in find(name).datasets(shared_store)
        for sample in (*one.train, *one.test)
        for text in sample.answers
    }
    assert texts
    whole = sorted(texts | {text.capitalize() + "." for text in texts})
    assert different(whole, monkeypatch) == []


def test_tokens_are_those_of_pycocoevalcaps_tokenizer() -> None:
    theirs = PTBTokenizer().tokenize({number: [{"caption": text}] for number, text in enumerate(NASTY[:50])})
    assert tokenize(NASTY[:50]) == [theirs[number][0] for number in range(50)]


def test_the_tokenizer_that_is_used_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert tokenizer() == "by Stanford's PTB tokenizer"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tokenizer() == "by our own PTB tokenizer, for there is no Java"
    assert tokenize(["Don't stop."]) == ["do n't stop"]


def test_line_breaks_and_foreign_letters_do_not_shift_the_lines() -> None:
    nasty = ["a\nb", "x\u2028y\x0bz\x85w", "", "café – 日本語 😀", "\x00 nul", "last"]
    tokens = tokenize(nasty)
    assert len(tokens) == len(nasty)
    assert tokens[0] == "a b"
    assert tokens[1] == "x y z w"
    assert tokens[3].startswith("café")
    assert tokens[5] == "last"
    assert ptb.tokens("\x00 \u2028 \udcff") == []


def test_a_java_that_does_not_work_is_not_taken_for_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho first >&2\necho 'no memory' >&2\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(EvalError, match=r"failed \(no memory\); see whether `java -version` works"):
        by_java(["never said before"])
