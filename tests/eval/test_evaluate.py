"""A whole evaluation on the pico model: predictions, experts, gate, report, and going on where one was stopped."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eval import EvalError, run
from eval.experts import keep as keep_expert
from eval.judge import Asked, ExactMatch, Mark
from eval.plain import PROMPTS
from eval.predict import MAX_TOKENS, predict
from eval.predictions import FOLDER, asked, read, save, subset
from eval.report import Judging, Report, Topic
from eval.report import read as read_report
from modalities.checkpoint import Checkpoint, Store
from modalities.userdata import datasets, keep
from serving import clearance
from serving.deployment import in_process
from serving.engine import Sampling
from serving.policy import Policy
from tests import pico
from tests.eval.misbehaving import Misbehaving, judge, says
from tests.toy.tone import MODALITY as TONE

BOTH = ("tests.toy.tone", "tests.toy.pulse")
evaluate = partial(run.evaluate, policy=Policy(text=0.0))  # random deltas leave nothing of a pico backbone's text


def republished(store: Store, made: Checkpoint, **changes: Any) -> Checkpoint:
    """The same checkpoint with another manifest."""
    fields = {**made.model_dump(exclude={"id", "files"}), **changes}
    return store.publish({name: store.folder(made.id) / name for name in made.files}, **fields)


def second(store: Store) -> Checkpoint:
    """A second stage, which has learned pulse after tone."""
    return republished(store, pico.checkpoint(store, 2, BOTH), parent=store.live())


def teach(store: Store, report: Report, *names: str, share: float = 1.0) -> None:
    """Rewrite what a checkpoint has said: the first reference for this share of the items, nonsense for the rest."""
    for name in names:
        path = store.folder(report.checkpoint) / FOLDER / report.predictions[name]
        said = read(path)
        right = round(share * len(said))
        texts = [one.references[0] if n < right else "nonsense" for n, one in enumerate(said)]
        save(path, [one.model_copy(update={"prediction": text}) for one, text in zip(said, texts, strict=True)])


def outcome(report: Report) -> tuple[str, str]:
    assert report.verdict is not None
    return report.verdict.decision, " ".join(report.verdict.reasons)


def test_a_first_stage_is_its_own_expert_and_its_report_lies_beside_it(pico_store: Store) -> None:
    checkpoint = str(pico_store.live())
    teach(pico_store, evaluate(pico_store, checkpoint), "tone-qa", "tone-caption")
    report = evaluate(pico_store, checkpoint, probes=True)
    assert report.scores["tone"]["tone-qa"] == 1.0
    assert report.experts == report.scores
    assert report.expert_of == {"tone": checkpoint}
    assert (report.gains.relative, report.gains.backward) == ({"tone": 1.0}, 1.0)
    assert outcome(report)[0] == "GO"
    assert report.counts == {"tone-caption": 24, "tone-qa": 24}
    assert report.topics["tone-qa"]["pitch"] == Topic(accuracy=1.0, n=24, blind=report.blind["tone"]["tone-qa"])
    assert report.blind["tone"].keys() == report.scores["tone"].keys()
    assert [(one.topic, one.accuracy) for one in report.probes] == [("pitch", 1.0)]
    assert read_report(pico_store, checkpoint) == report
    page = (pico_store.folder(checkpoint) / "report.md").read_text()
    assert page.index("**GO: this checkpoint may serve.**") < page.index("## Scores")
    assert "| tone: tone-qa | accuracy | 24 | 1.000 | 0.000 | 1.000 | 100.00% |" in page
    assert f"python -m eval run {checkpoint} --probe" in page
    pico_store.load(checkpoint)  # what was written beside it is no part of it


def test_what_answers_is_what_would_serve(pico_store: Store) -> None:
    checkpoint = str(pico_store.live())
    report = evaluate(pico_store, checkpoint, limit=4)
    deployment = in_process(pico_store, checkpoint)
    kept = subset(datasets(pico_store, deployment.checkpoint)["tone"][1], 4, report.seed)
    said = read(pico_store.folder(checkpoint) / FOLDER / report.predictions["tone-qa"])

    async def serve() -> tuple[list[str], list[str]]:
        try:
            sampling = Sampling(max_tokens=MAX_TOKENS["qa"])
            seen = await deployment.answers([asked(one, False) for one in kept.test], sampling)
            return seen, [one.prediction for one in await predict(deployment, kept, blind=True)]
        finally:
            await deployment.close()

    seen, blind = asyncio.run(serve())
    assert [one.prediction for one in said] == [text.strip() for text in seen]
    assert len(set(blind)) == 1  # one question for all, and nothing to hear
    assert blind != [one.prediction for one in said]


def test_scoring_again_needs_no_model_and_gives_the_same_bytes(pico_store: Store) -> None:
    checkpoint = str(pico_store.live())
    evaluate(pico_store, checkpoint)
    files = [path for path in pico_store.folder(checkpoint).rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    shutil.rmtree(pico_store.assets / "pico")
    evaluate(pico_store, checkpoint)
    assert {path: path.read_bytes() for path in files} == before


def test_scores_are_kept_with_the_predictions_and_average_to_the_reports(pico_store: Store) -> None:
    checkpoint = str(pico_store.live())
    teach(pico_store, evaluate(pico_store, checkpoint), "tone-caption", share=0.5)
    report = evaluate(pico_store, checkpoint)
    for name, score in report.scores["tone"].items():
        said = read(pico_store.folder(checkpoint) / FOLDER / report.predictions[name])
        scores = [one.score for one in said if one.score is not None]
        assert sum(scores) / len(said) == pytest.approx(score)
    line = (pico_store.folder(checkpoint) / FOLDER / report.predictions["tone-qa"]).read_text().splitlines()[0]
    assert list(json.loads(line)) == ["id", "topic", "question", "prediction", "references", "score"]


def test_a_stopped_run_goes_on_with_the_first_dataset_that_is_missing(pico_store: Store) -> None:
    checkpoint = str(pico_store.live())
    report = evaluate(pico_store, checkpoint, limit=6)
    teach(pico_store, report, "tone-caption")  # to see that it is not predicted again
    gone = pico_store.folder(checkpoint) / FOLDER / report.predictions["tone-qa"]
    said = read(gone)
    gone.unlink()
    again = evaluate(pico_store, checkpoint, limit=6)
    assert read(gone) == said
    assert again.scores["tone"]["tone-caption"] > 100


def test_another_limit_is_another_set_of_predictions(pico_store: Store) -> None:
    checkpoint = str(pico_store.live())
    few, all_of_them = evaluate(pico_store, checkpoint, limit=3), evaluate(pico_store, checkpoint, blind=False)
    assert few.counts["tone-qa"] == 3
    assert all_of_them.counts["tone-qa"] == 24
    assert few.predictions["tone-qa"] != all_of_them.predictions["tone-qa"]
    assert all_of_them.blind == {}
    assert "subset of 3 items" in outcome(few)[1]


def test_a_subset_is_the_same_for_the_same_seed_and_keeps_its_order(pico_store: Store) -> None:
    whole = TONE.datasets(pico_store.root)[1]
    one = subset(whole, 5, 0)
    assert one == subset(whole, 5, 0) != subset(whole, 5, 1)
    assert [sample for sample in whole.test if sample in one.test] == list(one.test)
    assert (subset(whole, 99, 0), subset(whole, None, 0)) == (whole, whole)


def test_a_caption_alone_is_unscored_with_its_reason(pico_store: Store) -> None:
    report = evaluate(pico_store, str(pico_store.live()), limit=1)
    assert report.scores["tone"].keys() == {"tone-qa"}
    assert "at least two items; raise --limit" in report.unscored["tone-caption"]
    assert "tone" not in report.gains.relative


def test_a_second_stage_is_compared_with_the_first_and_blocked_when_it_forgets(pico_store: Store) -> None:
    first, both = str(pico_store.live()), second(pico_store)
    report = evaluate(pico_store, both.id, blind=False)
    decision, reasons = outcome(report)
    assert decision == "INCONCLUSIVE"
    assert f"run: python -m eval run {first}" in reasons
    assert "extend expert tests.toy.pulse" in reasons
    teach(pico_store, report, "tone-caption", "tone-qa")

    teach(pico_store, evaluate(pico_store, first, blind=False), "tone-caption", "tone-qa")
    evaluate(pico_store, first, blind=False)
    report = evaluate(pico_store, both.id, blind=False)
    assert outcome(report)[0] == "GO"
    assert report.gains.relative == {"tone": 1.0}
    assert report.expert_of == {"tone": first}

    teach(pico_store, report, "tone-qa", share=0.5)
    report = evaluate(pico_store, both.id, blind=False)
    decision, reasons = outcome(report)
    assert decision == "NO-GO"
    assert "tone stands at 75.00% of its expert (lowest dataset: tone-qa at 50.00%)" in reasons


def test_a_limited_run_is_compared_with_what_the_expert_said_about_the_same_items(pico_store: Store) -> None:
    first, both = str(pico_store.live()), second(pico_store)
    teach(pico_store, evaluate(pico_store, first, blind=False), "tone-caption", "tone-qa")
    expert = evaluate(pico_store, first, blind=False)
    report = evaluate(pico_store, both.id, limit=8, blind=False)
    assert report.experts["tone"]["tone-qa"] == 1.0
    assert report.experts["tone"]["tone-caption"] != expert.scores["tone"]["tone-caption"]  # rarity among 8, not 24
    shutil.rmtree(pico_store.folder(first) / FOLDER)
    report = evaluate(pico_store, both.id, limit=8, blind=False)
    assert "its expert was not measured on these items of tone-caption" in report.unscored["tone"]


def test_a_trained_expert_takes_precedence_over_the_first_stage(pico_store: Store) -> None:
    first, both = str(pico_store.live()), second(pico_store)
    teach(pico_store, evaluate(pico_store, first, blind=False), "tone-caption", "tone-qa", share=0.5)
    evaluate(pico_store, first, blind=False)
    expert = republished(pico_store, pico_store.manifest(first), method="finetune")
    teach(pico_store, evaluate(pico_store, expert.id, blind=False), "tone-caption", "tone-qa")
    report = evaluate(pico_store, expert.id, blind=False)
    keep_expert(pico_store, "tone", report)
    assert evaluate(pico_store, both.id, blind=False).expert_of == {"tone": expert.id}
    shutil.rmtree(pico_store.folder(expert.id))  # what was kept of it is enough
    report = evaluate(pico_store, both.id, blind=False)
    assert report.experts["tone"]["tone-qa"] == 1.0
    judging = Judging(judge="a language model")
    other = report.model_copy(update={"judging": judging}).model_dump(mode="json")
    pico_store.write_json(pico_store.experts / "tone" / "report.json", other | {"checkpoint": expert.id})
    assert "judged by 'a language model'" in evaluate(pico_store, both.id, blind=False).unscored["tone"]


def test_an_expert_that_knows_nothing_is_no_denominator(pico_store: Store) -> None:
    report = evaluate(pico_store, str(pico_store.live()), blind=False)
    nothing = [dataset for dataset, score in report.scores["tone"].items() if score == 0.0]
    assert "tone-qa" in nothing
    told = f"its expert scores 0 on {nothing[0]}; train a better one: extend expert tests.toy.tone"
    assert told in report.unscored["tone"]


def test_a_first_stage_that_tuned_no_llm_is_no_expert(pico_store: Store) -> None:
    made = pico_store.manifest(str(pico_store.live()))
    files = {name: pico_store.folder(made.id) / name for name in made.files if name.startswith("connectors/")}
    fields = made.model_dump(exclude={"id", "files"}) | {"deltas": (), "method": "eproj"}
    report = evaluate(pico_store, pico_store.publish(files, **fields).id, blind=False, limit=4)
    assert "it has no expert" in report.unscored["tone"]


def test_a_users_folder_is_what_its_checkpoint_is_measured_on(pico_store: Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for split, number in (("train", 0), ("test", 1)):
        (mine / f"{number}.tone").write_bytes(pico.tone(number))
        line = {"id": split, "task": "qa", "media": f"{number}.tone", "question": "How high?", "answers": ["low"]}
        (mine / f"{split}.jsonl").write_text(json.dumps(line))
    kept = keep(pico_store, TONE, mine)
    made = republished(pico_store, pico_store.manifest(str(pico_store.live())), recipe={"data": {"tone": kept}})
    report = evaluate(pico_store, made.id)
    assert report.counts == {f"{kept}-qa": 1}
    (pico_store.data / kept / "1.tone").write_text("no numbers")
    with pytest.raises(EvalError, match=rf"^{kept}-qa, test item 'test': This is not a \.tone file"):
        evaluate(pico_store, made.id)


def test_an_engine_that_does_not_exist_is_named(pico_store: Store) -> None:
    with pytest.raises(EvalError, match="No engine 'warp'; there is: vllm, transformers"):
        evaluate(pico_store, str(pico_store.live()), engine="warp")


def test_without_java_captions_are_scored_all_the_same_and_the_report_says_how(
    pico_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkpoint = str(pico_store.live())
    teach(pico_store, evaluate(pico_store, checkpoint, blind=False), "tone-caption", share=0.5)
    with_java = evaluate(pico_store, checkpoint, blind=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    without = evaluate(pico_store, checkpoint, blind=False)
    assert without.scores == with_java.scores
    assert with_java.tokenizer == "by Stanford's PTB tokenizer"
    assert any("our own PTB tokenizer, for there is no Java" in one for one in without.warnings)


def test_captions_that_share_no_word_are_warned_of(pico_store: Store) -> None:
    report = evaluate(pico_store, str(pico_store.live()), blind=False)
    path = pico_store.folder(report.checkpoint) / FOLDER / report.predictions["tone-caption"]
    save(path, [one.model_copy(update={"prediction": "qqq"}) for one in read(path)])
    report = evaluate(pico_store, report.checkpoint, blind=False)
    assert report.scores["tone"]["tone-caption"] == 0
    assert report.warnings[0].startswith("CIDEr of tone-caption is 0")


def test_a_killed_run_goes_on_within_a_dataset_and_says_the_same(
    pico_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eval.predict.CHUNK", 8)
    checkpoint = str(pico_store.live())
    whole = evaluate(pico_store, checkpoint, blind=False)
    paths = [pico_store.folder(checkpoint) / FOLDER / name for name in whole.predictions.values()]
    said = [read(path) for path in paths]
    for path, lines in zip(paths, said, strict=True):
        path.unlink()
        unique = list(dict.fromkeys(one.prediction for one in lines[:1]))
        path.with_suffix(".part").write_text(json.dumps([*unique, "kept", *["x"] * 6]))
    again = evaluate(pico_store, checkpoint, blind=False)
    assert [read(path)[0].prediction for path in paths] == [lines[0].prediction for lines in said]
    assert [read(path)[1].prediction for path in paths] == ["kept", "kept"]
    assert [read(path)[8:] for path in paths][1] == said[1][8:]
    assert again.counts == whole.counts
    assert not list(paths[0].parent.glob("*.part"))


def test_the_verdict_is_for_these_bytes_and_this_policy(pico_store: Store) -> None:
    checkpoint = str(pico_store.live())
    teach(pico_store, evaluate(pico_store, checkpoint, blind=False), "tone-qa", "tone-caption")
    report = evaluate(pico_store, checkpoint, blind=False)
    assert report.verdict is not None
    assert (report.verdict.decision, report.verdict.checkpoint) == ("GO", checkpoint)
    clearance.require(pico_store, checkpoint, Policy(text=0.0))
    with pytest.raises(clearance.NotCleared, match="another policy"):
        clearance.require(pico_store, checkpoint, Policy())


def test_plain_text_is_measured_unless_the_policy_asks_for_none(pico_store: Store) -> None:
    report = run.evaluate(pico_store, str(pico_store.live()), limit=4, blind=False)
    assert report.text is not None
    assert report.text.prompts == len(PROMPTS)
    assert report.text.loss > report.text.reference
    assert report.bounds.text is not None
    assert report.bounds.text.value == pytest.approx(report.text.reference / report.text.loss)
    assert outcome(report)[0] == "NO-GO"
    assert "Plain text stands at" in outcome(report)[1]
    shutil.rmtree(pico_store.assets / "pico")
    again = run.evaluate(pico_store, report.checkpoint, limit=4, blind=False)
    assert again == report, "Judging again needs no model."


def test_a_report_knows_the_stages_before_and_what_changed_since(pico_store: Store) -> None:
    first, both = str(pico_store.live()), second(pico_store)
    teach(pico_store, evaluate(pico_store, first, blind=False), "tone-caption", "tone-qa")
    evaluate(pico_store, first, blind=False)
    teach(pico_store, evaluate(pico_store, both.id, blind=False), "tone-qa", share=0.5)
    report = evaluate(pico_store, both.id, blind=False)
    assert [(one.checkpoint, one.decision, one.modalities["tone"].value) for one in report.history] == [
        (first, "GO", 1.0)
    ]
    assert report.compared_with == first
    assert {one.dataset for one in report.flips} == {"tone-caption", "tone-qa"}
    assert all(one.change < 0 for one in report.flips)
    page = (pico_store.folder(both.id) / "report.html").read_text()
    assert "What it says otherwise than" in page
    assert 'download="' in page, "The tone that an item asks about can be listened to."
    first_bounds = report.bounds.modalities["tone"]
    assert first_bounds.lower < first_bounds.value < first_bounds.upper


def test_an_answer_without_a_score_takes_no_part(pico_store: Store) -> None:
    """A judge that says nothing about every fourth answer."""

    class Shy(ExactMatch):
        name = "a shy judge"

        def marks(self, asked: Sequence[Asked]) -> list[Mark]:
            marks = super().marks(asked)
            return [Mark(None, "shy") if place % 4 == 0 else mark for place, mark in enumerate(marks)]

    first = str(pico_store.live())
    teach(pico_store, evaluate(pico_store, first, blind=False), "tone-caption", "tone-qa")
    report = evaluate(pico_store, first, blind=False, judge=Shy())
    assert report.scores["tone"]["tone-qa"] == 1.0
    assert report.unscored_items == {"tone-qa": {"shy": 6}}
    assert report.bounds.datasets["tone"]["tone-qa"].weights[0].n == 18
    decision, reasons = outcome(report)
    assert decision == "INCONCLUSIVE"
    assert "6 of 24 items of tone-qa have no score (shy); the policy allows 5%." in reasons
    assert report.judging.agreement is not None
    assert report.judging.agreement.unscored == 50


def test_a_language_models_report_is_replayed_byte_for_byte_without_it(
    endpoint: Misbehaving, pico_store: Store, tmp_path: Path
) -> None:
    """A judge that times out now and then, and obeys no form on Fridays: what failed stays what it was."""
    replies = ["{'pred': 'yes', 'score': 4.8}", "{'pred': 'no', 'score': 0}", "", "Yes!"]
    endpoint.behave = lambda _, asked: (429, {}, {}) if "fire" in asked else says(replies[sum(asked.encode()) % 4])
    first = str(pico_store.live())
    report = evaluate(pico_store, first, judge=judge(endpoint.url, tmp_path, prompt_price=1.0, completion_price=1.0))
    assert report.judging.judge.startswith("m at http")
    assert set(report.judging.unscored) >= {"an empty reply", "a reply that is no dictionary"}
    assert report.judging.notes["a score that is no integer"] > 0
    assert report.judging.cost is not None
    assert report.judging.agreement is not None
    files = [pico_store.folder(first) / name for name in ("report.json", "report.md", "report.html")]
    before, asked = [file.read_bytes() for file in files], len(endpoint.asked)
    settings: dict[str, Any] = {"prompt_price": 1.0, "completion_price": 1.0}
    evaluate(pico_store, first, judge=judge(endpoint.url, tmp_path, replay=True, **settings))
    assert [file.read_bytes() for file in files] == before
    assert len(endpoint.asked) == asked
    assert f"Answers are judged by {report.judging.judge}" in files[1].read_text()
