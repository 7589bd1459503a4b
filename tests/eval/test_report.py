"""report.json round trips and is strict; report.md is for reading."""

import pytest

from eval import EvalError
from eval.figures import bounds
from eval.gate import gate
from eval.markdown import table
from eval.page import render
from eval.report import (
    Agreement,
    Example,
    Flip,
    Judging,
    Past,
    Probe,
    Report,
    TextLoss,
    Topic,
    measure,
    parse,
    read,
)
from modalities.checkpoint import Store, StoreError
from serving.policy import Policy

DATASETS = {"image": ("cap", "im-qa"), "sound": ("so-qa",)}
PAIRS = {"image": {"cap": ([80.0, 70.0, 90.0], [100.0, 110.0, 90.0]), "im-qa": ([1.0, 0.0, 1.0], [1.0, 1.0, 0.0])}}
FIRST = bounds({"image": ("cap",)}, {"image": {"cap": ([1.0], [1.0])}}).modalities
SCORES = {"image": {"cap": 80.0, "im-qa": 0.5}, "sound": {"so-qa": 0.6}}


def made() -> Report:
    experts = {"image": {"cap": 100.0, "im-qa": 0.5}}
    report = Report(
        checkpoint="0002-sound-mera-12345678",
        stage=2,
        method="mera",
        modalities=("image", "sound"),
        datasets={"image": {"cap": "caption", "im-qa": "qa"}, "sound": {"so-qa": "qa"}},
        scores=SCORES,
        blind={"image": {"cap": 1.25, "im-qa": 0.1}, "sound": {"so-qa": 0.2}},
        experts=experts,
        expert_of={"image": "0001-image-mera-87654321"},
        unscored={"sound": "it has no expert; make one: extend expert sound"},
        counts={"cap": 300, "im-qa": 310, "so-qa": 320},
        items={},
        predictions={},
        topics={"im-qa": {"class": Topic(accuracy=0.6, n=100, blind=0.25), "colour": Topic(accuracy=0.45, n=210)}},
        gains=measure({"image": ("cap", "im-qa"), "sound": ("so-qa",)}, SCORES, experts),
        examples=(
            Example(dataset="cap", id="7", question="What?", prediction="<b>a|b*\n\x0fc", references=("a cat", "cat")),
            Example(dataset="im-qa", id="8", question="Which?", prediction="", references=("red", "a", "b", "c", "d")),
        ),
        probes=(Probe(modality="image", topic="class", accuracy=0.75, majority=0.1, n=100),),
        bounds=bounds(DATASETS, PAIRS, ([0.99], [1.0])),
        text=TextLoss(prompts=200, tokens=8000, reference=0.3, loss=0.3030),
        captions={"cap": {"BLEU-4": 12.5, "ROUGE-L": 40.0}},
        warnings=("CIDEr of cap is 0.",),
        history=(Past(checkpoint="0001-image-mera-87654321", stage=1, decision="GO", modalities=FIRST, backward=1.0),),
        compared_with="0001-image-mera-87654321",
        flips=(
            Flip(dataset="im-qa", id="9", question="Which?", references=("red",), before="red", after="<i>", change=-1),
        ),
        judging=Judging(
            judge="normalised exact match",
            asked=830,
            unscored={"a timeout": 2},
            notes={"a score that is no integer": 3},
            prompt_tokens=1000,
            completion_tokens=20,
            cost=0.5,
            agreement=Agreement(n=200, unscored=0, accuracy=0.75, kappa=0.5),
        ),
        tokenizer="by Stanford's PTB tokenizer",
        seed=0,
        limit=400,
        engine="transformers",
        versions={"python": "3.11.2"},
    )
    return report.model_copy(update={"verdict": gate(report, Policy())})


def test_a_report_survives_the_round_trip() -> None:
    report = made()
    assert parse(report.model_dump_json().encode(), "x") == report


def test_a_report_is_frozen_and_strict() -> None:
    report = made()
    with pytest.raises(ValueError, match="frozen"):
        report.stage = 3
    with pytest.raises(EvalError, match=r"^x: report\.json is damaged \(mood: Extra inputs"):
        parse(report.model_dump_json().replace('"stage"', '"mood":1,"stage"', 1).encode(), "x")
    with pytest.raises(EvalError, match=r"damaged \(the file: .*measure it again"):
        parse(b"{", "x")
    with pytest.raises(EvalError, match="scores.sound.so-qa"):
        parse(report.model_dump_json().replace('"so-qa":0.6', '"so-qa":NaN').encode(), "x")


def test_the_measures_follow_from_the_scores() -> None:
    gains = made().gains
    assert gains.relative == {"image": pytest.approx(0.9)}
    assert gains.datasets == {"image": {"cap": 0.8, "im-qa": 1.0}}
    assert gains.backward == gains.worst == pytest.approx(0.9)
    assert (gains.forward, gains.worst_modality) == (None, "image")


def test_nothing_is_made_up_where_an_older_modality_is_unscored() -> None:
    gains = measure({"image": ("cap", "im-qa"), "sound": ("so-qa",)}, SCORES, {"sound": {"so-qa": 0.5}})
    assert gains.backward is None
    assert gains.forward == pytest.approx(1.2)


def test_the_page_says_the_verdict_first_then_everything_else() -> None:
    page = render(made())
    order = [
        "# 0002-sound",
        "**INCONCLUSIVE: ",
        "90.00%",
        "## What the gate",
        "## Scores",
        "## Stage by stage",
        "## By kind",
    ]
    order += ["## What the frozen", "## What it says otherwise", "## What it says\n", "## How this"]
    places = [page.index(one) for one in order]
    assert places == sorted(places)
    assert "| image: cap | CIDEr | 300 | 80.00 | 1.25 | 100.00 | 80.00% |" in page
    assert "| sound: so-qa | accuracy | 320 | 0.600 | 0.200 | – | – |" in page
    assert "| sound | – | – | none |" in page
    assert "| modality image | 90.00% |" in page
    assert "- modality image: " in page[page.index("## What would change the verdict") :]
    assert "| 1: 0001-image-mera-87654321 | 100.00% | – |" in page
    assert "- Warning: CIDEr of cap is 0." in page
    assert "have a mean loss of 0.3030 nats a token here and of 0.3000 under the backbone: 99.00%" in page
    assert "| cap | 12.50 | 40.00 |" in page
    assert "- worse: im-qa, 9: *Which?* → **\\<i\\>**, before: red (accepted: red)" in page
    assert (
        "unscored: 2 (a timeout); odd but taken: 3 (a score that is no integer); 1,000 + 20 tokens, cost 0.5000" in page
    )
    assert (
        "on 200 shipped verdicts, which a language model wrote and checked, it is right in 75.0% (Cohen's κ 0.50)"
        in page
    )
    assert "| im-qa: class | 100 | 0.600 | 0.250 |" in page
    assert "| im-qa: colour | 210 | 0.450 | – |" in page
    assert "| image: class | 100 | 0.100 | 0.750 | 0.80 |" in page
    assert "python -m eval run 0002-sound-mera-12345678 --limit 400 --probe --metrics --engine transformers" in page
    assert "extend expert sound" in page


def test_what_a_model_says_cannot_become_markup() -> None:
    page = render(made())
    assert "**\\<b\\>a\\|b\\* c**" in page
    assert "**(nothing)** (accepted: red; a; b; and 2 more)" in page


def test_a_cell_cannot_break_a_table() -> None:
    assert table(["a", "b"], [["x|y", "1"]]).splitlines() == ["| a | b |", "| --- | ---: |", "| x\\|y | 1 |"]


def test_the_same_report_makes_the_same_page() -> None:
    assert render(made()) == render(made())


def test_a_report_that_was_not_judged_or_lacks_parts_is_a_page_too() -> None:
    bare: dict[str, object] = {
        "verdict": None, "blind": {}, "topics": {}, "examples": (), "limit": None, "history": (), "flips": (),
        "captions": {}, "text": None, "warnings": (), "judging": Judging(judge="normalised exact match"),
    }  # fmt: skip
    page = render(made().model_copy(update=bare))
    assert "Not gated." in page
    assert "--no-blind" in page
    assert "--limit" not in page
    assert "Nothing was scored." in page
    assert "| image: class | 100 | 0.100 | 0.750 | – |" in page
    assert "## What the frozen" not in render(made().model_copy(update={"probes": ()}))


def test_a_checkpoint_that_was_not_measured_names_the_command(pico_store: Store) -> None:
    live = str(pico_store.live())
    with pytest.raises(EvalError, match=f"{live} has not been measured; run: python -m eval run {live}"):
        read(pico_store, live)
    with pytest.raises(StoreError, match="No checkpoint '0009-none' in the store; it has: 0001-tone"):
        read(pico_store, "0009-none")
