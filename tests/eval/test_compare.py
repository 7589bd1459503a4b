"""Two checkpoints item by item: what changed, how sure that is, and what cannot be compared."""

from functools import partial

import pytest

from eval import EvalError, run
from eval.compare import compare, text
from eval.report import Judging
from modalities.checkpoint import Store
from serving.policy import Policy
from tests.eval.test_evaluate import second, teach

evaluate = partial(run.evaluate, policy=Policy(text=0.0), blind=False)


def test_what_one_says_better_and_worse_is_counted_with_bounds_and_shown(pico_store: Store) -> None:
    first, both = str(pico_store.live()), second(pico_store).id
    teach(pico_store, evaluate(pico_store, first), "tone-qa", share=0.75)
    evaluate(pico_store, first)
    teach(pico_store, evaluate(pico_store, both), "tone-qa", share=0.25)
    evaluate(pico_store, both)
    made = compare(pico_store, first, both)
    assert [one.dataset for one in made.rows] == ["tone-caption", "tone-qa"], "Only what both were asked."
    row = made.rows[1]
    assert (row.n, row.before, row.after, row.better, row.worse) == (24, 0.75, 0.25, 0, 12)
    assert row.change.value == -0.5
    assert row.change.lower < -0.5 < row.change.upper < 0
    worse = [one for one in made.flips if one.dataset == "tone-qa"]
    assert [(one.change, one.after) for one in worse] == [(-1.0, "nonsense")] * 2
    back = compare(pico_store, both, first)
    assert back.rows[1].change.value == 0.5
    page = text(made)
    assert "tone, tone-qa: 75.00 -> 25.00, -50.00 (95 % sure: above" in page
    assert "0 better, 12 worse of 24" in page
    assert compare(pico_store, first, first).flips == ()


def test_what_was_judged_or_asked_otherwise_is_not_compared(pico_store: Store) -> None:
    first, both = str(pico_store.live()), second(pico_store).id
    evaluate(pico_store, first)
    with pytest.raises(EvalError, match=f"{both} has not been measured"):
        compare(pico_store, first, both)
    report = evaluate(pico_store, both)
    other = report.model_copy(update={"judging": Judging(judge="another")})
    pico_store.write_json(pico_store.folder(both) / "report.json", other.model_dump(mode="json"))
    with pytest.raises(EvalError, match="were judged by different judges"):
        compare(pico_store, first, both)
    bare = report.model_copy(update={"predictions": {}})
    pico_store.write_json(pico_store.folder(both) / "report.json", bare.model_dump(mode="json"))
    with pytest.raises(EvalError, match="were not measured on a common dataset"):
        compare(pico_store, first, both)
