"""Kept, misaligned or forgotten: where the lines are, and how it is said."""

from pathlib import Path

import pytest

from eval import EvalError
from eval.diagnosis import FILE, Change, read, section, words


def change(lost: float, regained: float) -> Change:
    return Change(modality="tone", drift=0.031, lost=lost, regained=regained)


@pytest.mark.parametrize(
    ("lost", "regained", "kind"),
    [
        (-0.5, 0.0, "kept"),
        (0.02, 0.0, "kept"),
        (0.4, 0.2, "misaligned"),
        (0.4, 0.6, "misaligned"),
        (0.4, 0.19, "forgotten"),
        (0.4, -0.1, "forgotten"),
    ],
)
def test_what_the_connector_alone_brings_back_was_misaligned(lost: float, regained: float, kind: str) -> None:
    assert change(lost, regained).kind == kind


def test_it_is_said_in_plain_words_with_the_cure() -> None:
    assert "**tone is kept**" in words(change(0.0, 0.0))
    said = words(change(0.4, 0.3))
    assert "**tone is misaligned**" in said
    assert "brings 75% of that back. Realign on more data" in said
    assert "its connector moved by 3.1%" in said
    assert "brings only 0% of that back. The LLM itself has changed" in words(change(0.4, -0.3))


def test_a_report_without_a_diagnosis_says_nothing_of_it(tmp_path: Path) -> None:
    assert read(tmp_path) == ()
    assert section(()) == []


def test_a_damaged_diagnosis_is_named_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('[{"modality": "tone"}]')
    with pytest.raises(EvalError, match=f"{FILE} is damaged; run: extend diagnose {tmp_path.name}"):
        read(tmp_path)
