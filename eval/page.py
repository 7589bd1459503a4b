"""report.md: the report for a reader, verdict first. It knows nothing that is not in report.json."""

from collections.abc import Sequence

from eval.diagnosis import section
from eval.report import Report, Verdict

PLAIN = {
    "GO": "GO: this checkpoint may serve.",
    "NO-GO": "NO-GO: this checkpoint should not serve; it has forgotten too much.",
    "INCONCLUSIVE": "INCONCLUSIVE: nobody can say yet whether this checkpoint may serve.",
}

SHOWN = 3  # references of an example


def render(report: Report) -> str:
    """The whole page as Markdown."""
    sections = [
        f"# {report.checkpoint}",
        _about(report),
        _verdict(report.verdict),
        "## Scores",
        _scores(report),
        _gains(report),
        *_topics(report),
        *_probes(report),
        *section(report.diagnosis),
        "## What it says",
        _examples(report),
        "## How this was made",
        _how(report),
    ]
    return "\n\n".join(sections) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are figures, to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in [header, rule, *rows]]
    return "\n".join(f"| {line} |" for line in lines)


def _about(report: Report) -> str:
    return f"Stage {report.stage}, {report.method}; it has learned {', '.join(report.modalities)} in this order."


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return "Not gated."
    return "\n".join([f"**{PLAIN[verdict.decision]}**", "", *(f"- {reason}" for reason in verdict.reasons)])


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
                    _figure(report.scores.get(modality, {}).get(name), captions),
                    _figure(report.blind.get(modality, {}).get(name), captions),
                    _figure(report.experts.get(modality, {}).get(name), captions),
                    _share(report.gains.datasets.get(modality, {}).get(name)),
                ]
            )
    head = ["dataset", "measure", "items", "score", "blind", "expert", "of the expert"]
    note = "CIDEr is times 100, as in the paper. Blind is the same model without the media: what guessing reaches."
    return table(head, rows) + "\n\n" + note


def _figure(value: float | None, captions: bool) -> str:
    return "–" if value is None else f"{value:.2f}" if captions else f"{value:.3f}"


def _gains(report: Report) -> str:
    gains = report.gains
    rows = [
        [modality, _share(gains.relative.get(modality)), report.expert_of.get(modality, "none")]
        for modality in report.modalities
    ]
    figures = [
        f"Backward Relative Gain {_share(gains.backward)}",
        f"Forward Relative Gain {_share(gains.forward)}",
        f"worst modality {gains.worst_modality or 'unknown'} {_share(gains.worst)}",
    ]
    return table(["modality", "Relative Gain", "expert"], rows) + "\n\n" + "; ".join(figures) + "."


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _topics(report: Report) -> list[str]:
    rows = [
        [f"{name}: {topic}", str(one.n), f"{one.accuracy:.3f}", _figure(one.blind, captions=False)]
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
        share = f"{accuracy / one.accuracy:.2f}" if mine and one.accuracy else "–"
        rows.append([f"{one.modality}: {one.topic}", str(one.n), f"{one.majority:.3f}", f"{one.accuracy:.3f}", share])
    head = ["question", "items", "majority", "linear probe", "model / probe"]
    note = "The probe reads no question: it is a ceiling only where the media alone decide the answer."
    return ["## What the frozen features hold", table(head, rows), note] if rows else []


def _examples(report: Report) -> str:
    lines = [
        f"- {one.dataset}, {one.id}: *{_inline(one.question)}* → **{_inline(one.prediction) or '(nothing)'}** "
        f"(accepted: {_some(one.references)})"
        for one in report.examples
    ]
    return "\n".join(lines) or "Nothing was scored."


def _some(references: Sequence[str]) -> str:
    more = f"; and {len(references) - SHOWN} more" if len(references) > SHOWN else ""
    return "; ".join(map(_inline, references[:SHOWN])) + more


def _inline(text: str) -> str:
    """Text from outside, on one line and without markup."""
    return "".join("\\" + c if c in "\\`*_<>[]|" else c for c in " ".join(text.split()) if c.isprintable())


def _how(report: Report) -> str:
    command = ["python -m eval run", report.checkpoint]
    command += ["--limit", str(report.limit)] if report.limit is not None else []
    command += [] if report.blind else ["--no-blind"]
    command += ["--probe"] if report.probes else []
    command += ["--engine", report.engine]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f"    {' '.join(command)}\n\nAnswers are judged by {report.judge}; seed {report.seed}; {versions}."
