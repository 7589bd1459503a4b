"""How a report's figures and texts look in Markdown. It knows no report."""

from collections.abc import Sequence

from eval.report import Interval

SHOWN = 3  # references of an example


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are figures, to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in [header, rule, *rows]]
    return "\n".join(f"| {line} |" for line in lines)


def figure(value: float | None, captions: bool) -> str:
    """A score on its own scale; a dash where there is none."""
    return "–" if value is None else f"{value:.2f}" if captions else f"{value:.3f}"


def span(one: Interval | None) -> str:
    """The bounds of a share."""
    return "–" if one is None else f"{one.lower:.2%} … {one.upper:.2%}"


def between(one: Interval | None) -> str:
    """The same in brackets, where they say anything."""
    return f" ({span(one)})" if one is not None and one.lower < one.upper else ""


def share(value: float | None) -> str:
    """A share in per cent; a dash where there is none."""
    return "–" if value is None else f"{value:.2%}"


def some(references: Sequence[str]) -> str:
    """The first references, and how many more there are."""
    more = f"; and {len(references) - SHOWN} more" if len(references) > SHOWN else ""
    return "; ".join(map(inline, references[:SHOWN])) + more


def inline(text: str) -> str:
    """Text from outside, on one line and without markup."""
    return "".join("\\" + c if c in "\\`*_<>[]|" else c for c in " ".join(text.split()) if c.isprintable())
