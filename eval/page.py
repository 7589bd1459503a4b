"""report.md: the report for a reader, verdict first. It knows nothing that is not in report.json."""

from eval.diagnosis import section
from eval.markdown import between, figure, inline, share, some, span, table
from eval.report import Interval, Report, Verdict
from eval.words import PLAIN, judging, stages, title, what_would_change


def render(report: Report) -> str:
    """The whole page as Markdown."""
    sections = [
        f"# {report.checkpoint}",
        _about(report),
        _verdict(report.verdict),
        *_warnings(report),
        *_checks(report.verdict),
        "## Scores",
        _scores(report),
        _gains(report),
        *_stages(report),
        *_topics(report),
        *_probes(report),
        *_captions(report),
        *_flips(report),
        *section(report.diagnosis),
        "## What it says",
        _examples(report),
        "## How this was made",
        _how(report),
    ]
    return "\n\n".join(sections) + "\n"


def _about(report: Report) -> str:
    return f"Stage {report.stage}, {report.method}; it has learned {', '.join(report.modalities)} in this order."


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return "Not gated."
    return "\n".join([f"**{PLAIN[verdict.decision]}**", "", *(f"- {reason}" for reason in verdict.reasons)])


def _warnings(report: Report) -> list[str]:
    return ["\n".join(f"- Warning: {one}" for one in report.warnings)] if report.warnings else []


def _checks(verdict: Verdict | None) -> list[str]:
    """Each figure with its bounds against its floor, and what would change the verdict."""
    if verdict is None or not verdict.checks:
        return []
    rows = [
        [
            title(one),
            f"{one.interval.value:.2%}",
            f"{one.interval.lower:.2%}",
            f"{one.interval.upper:.2%}",
            f"{one.floor:.2%}",
            one.outcome,
        ]
        for one in verdict.checks
    ]
    head = ["figure", "share", "above", "below", "wanted", "outcome"]
    note = "Above and below hold with 95 % certainty each. A figure passes when it is above what is wanted."
    changes = "\n".join(f"- {one}" for one in what_would_change(verdict))
    return [
        "## What the gate looked at",
        table(head, rows) + "\n\n" + note,
        "## What would change the verdict",
        changes,
    ]


def _scores(report: Report) -> str:
    rows = []
    for modality, names in report.datasets.items():
        for name, task in names.items():
            captions = task == "caption"
            rows.append(
                [
                    f"{modality}: {name}",
                    "CIDEr" if captions else "accuracy",
                    str(report.counts[name]),
                    figure(report.scores.get(modality, {}).get(name), captions),
                    figure(report.blind.get(modality, {}).get(name), captions),
                    figure(report.experts.get(modality, {}).get(name), captions),
                    share(report.gains.datasets.get(modality, {}).get(name)),
                ]
            )
    head = ["dataset", "measure", "items", "score", "blind", "expert", "of the expert"]
    note = "CIDEr is times 100, as in the paper. Blind is the same model without the media: what guessing reaches."
    return table(head, rows) + "\n\n" + note


def _gains(report: Report) -> str:
    gains, bounds = report.gains, report.bounds
    rows = [
        [
            modality,
            share(gains.relative.get(modality)),
            span(bounds.modalities.get(modality)),
            report.expert_of.get(modality, "none"),
        ]
        for modality in report.modalities
    ]
    figures = [
        f"Backward Relative Gain {share(gains.backward)}{between(bounds.aggregate)}",
        f"Forward Relative Gain {share(gains.forward)}{between(bounds.forward)}",
        f"worst modality {gains.worst_modality or 'unknown'} {share(gains.worst)}",
    ]
    if bounds.capped and bounds.geometric:
        figures.append(
            f"their mean with each capped at 100 % {share(bounds.capped.value)}{between(bounds.capped)}, "
            f"their geometric mean {share(bounds.geometric.value)}{between(bounds.geometric)}"
        )
    lines = [table(["modality", "Relative Gain", "bounds", "expert"], rows), "; ".join(figures) + "."]
    if report.text and bounds.text:
        text = report.text
        lines.append(
            f"Plain text: the backbone's own answers to {text.prompts} prompts ({text.tokens:,} tokens) have a mean "
            f"loss of {text.loss:.4f} nats a token here and of {text.reference:.4f} under the backbone: "
            f"{share(bounds.text.value)}{between(bounds.text)}."
        )
    return "\n\n".join(lines)


def _stages(report: Report) -> list[str]:
    """Stage by modality: what each stage has left of each."""
    if not report.history:
        return []
    rows = [
        [f"{one.stage}: {one.checkpoint}", *(_cell(one.modalities.get(name)) for name in report.modalities)]
        for one in stages(report)
    ]
    return ["## Stage by stage", table(["stage", *report.modalities], rows)]


def _cell(one: Interval | None) -> str:
    return "–" if one is None else f"{one.value:.2%}{between(one)}"


def _topics(report: Report) -> list[str]:
    rows = [
        [f"{name}: {topic}", str(one.n), f"{one.accuracy:.3f}", figure(one.blind, captions=False)]
        for name, topics in report.topics.items()
        for topic, one in topics.items()
    ]
    return ["## By kind of question", table(["question", "items", "accuracy", "blind"], rows)] if rows else []


def _probes(report: Report) -> list[str]:
    rows = []
    for one in report.probes:
        sets = report.datasets[one.modality]
        mine = [report.topics[name][one.topic] for name in sets if one.topic in report.topics.get(name, {})]
        accuracy = sum(topic.accuracy * topic.n for topic in mine) / max(1, sum(topic.n for topic in mine))
        part = f"{accuracy / one.accuracy:.2f}" if mine and one.accuracy else "–"
        rows.append([f"{one.modality}: {one.topic}", str(one.n), f"{one.majority:.3f}", f"{one.accuracy:.3f}", part])
    head = ["question", "items", "majority", "linear probe", "model / probe"]
    note = "The probe reads no question: it is a ceiling only where the media alone decide the answer."
    return ["## What the frozen features hold", table(head, rows), note] if rows else []


def _captions(report: Report) -> list[str]:
    if not report.captions:
        return []
    names = sorted({name for one in report.captions.values() for name in one})
    rows = [[name, *(figure(one.get(each), True) for each in names)] for name, one in report.captions.items()]
    return [
        "## Other measures of captions",
        table(["dataset", *names], rows),
        "The gate looks at none of these.",
    ]


def _flips(report: Report) -> list[str]:
    if not report.flips:
        return []
    lines = [
        f"- {'worse' if one.change < 0 else 'better'}: {one.dataset}, {one.id}: *{inline(one.question)}* → "
        f"**{inline(one.after) or '(nothing)'}**, before: {inline(one.before) or '(nothing)'} "
        f"(accepted: {some(one.references)})"
        for one in report.flips
    ]
    return [f"## What it says otherwise than {report.compared_with}", "\n".join(lines)]


def _examples(report: Report) -> str:
    lines = [
        f"- {one.dataset}, {one.id}: *{inline(one.question)}* → **{inline(one.prediction) or '(nothing)'}** "
        f"(accepted: {some(one.references)})"
        for one in report.examples
    ]
    return "\n".join(lines) or "Nothing was scored."


def _how(report: Report) -> str:
    command = ["python -m eval run", report.checkpoint]
    command += ["--limit", str(report.limit)] if report.limit is not None else []
    command += [] if report.blind else ["--no-blind"]
    command += ["--probe"] if report.probes else []
    command += ["--metrics"] if report.captions else []
    command += ["--engine", report.engine]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return "\n\n".join(
        [
            f"    {' '.join(command)}",
            judging(report),
            f"Captions are tokenized {report.tokenizer}; seed {report.seed}; {versions}.",
        ]
    )
