"""A report in plain words, for both of its pages. It knows neither Markdown nor HTML."""

from eval.report import Check, Past, Report, Verdict

PLAIN = {
    "GO": "GO: this checkpoint may serve.",
    "NO-GO": "NO-GO: this checkpoint should not serve; it has forgotten too much.",
    "INCONCLUSIVE": "INCONCLUSIVE: nobody can say yet whether this checkpoint may serve.",
}


def title(check: Check) -> str:
    """What a check is about."""
    names = {
        "aggregate": "all older modalities",
        "modality": f"modality {check.name}",
        "dataset": f"dataset {check.name}",
        "forward": "the newest modality",
        "text": "plain text",
    }
    return names[check.kind]


def what_would_change(verdict: Verdict) -> list[str]:
    """What stands between this verdict and another, a line each."""
    lines = []
    for one in verdict.checks:
        value, floor = one.interval.value, one.floor
        if one.outcome == "failed":
            lines.append(f"{title(one)}: would have to rise from {value:.2%} by {floor - value:.2%} at least.")
        elif one.outcome == "open" and one.more:
            items = " and ".join(f"{n:,} more items of {name}" for name, n in one.more.items())
            lines.append(f"{title(one)}: about {items}, if it stays at {value:.2%}.")
        elif one.outcome == "open":
            lines.append(f"{title(one)}: a share further from {floor:.2%}; more items would not tell.")
    passed = [one for one in verdict.checks if one.outcome == "passed"]
    if not lines and passed:
        least = min(passed, key=lambda one: one.interval.lower - one.floor)
        room = least.interval.lower - least.floor
        lines.append(f"Nearest to failing is {title(least)}: its lower bound has {room:.2%} to spare.")
    return lines or ["A measurement of what is unscored."]


def stages(report: Report) -> list[Past]:
    """Every stage up to this one, oldest first."""
    now = Past(
        checkpoint=report.checkpoint,
        stage=report.stage,
        decision=report.verdict.decision if report.verdict else None,
        modalities=report.bounds.modalities,
        backward=report.gains.backward,
    )
    return [*report.history, now]


def judging(report: Report) -> str:
    """Who judged the answers, and what came of it, in a sentence."""
    one = report.judging
    lines = [f"Answers are judged by {one.judge}, {one.asked:,} in all"]
    if one.unscored:
        lines.append("unscored: " + ", ".join(f"{n} ({why})" for why, n in one.unscored.items()))
    if one.notes:
        lines.append("odd but taken: " + ", ".join(f"{n} ({why})" for why, n in one.notes.items()))
    if one.prompt_tokens:
        cost = "" if one.cost is None else f", cost {one.cost:.4f}"
        lines.append(f"{one.prompt_tokens:,} + {one.completion_tokens:,} tokens{cost}")
    if one.agreement:
        agreed = one.agreement
        lines.append(
            f"on {agreed.n} shipped verdicts, which a language model wrote and checked, it is right in "
            f"{agreed.accuracy:.1%} (Cohen's κ {agreed.kappa:.2f})"
        )
    return "; ".join(lines) + "."
