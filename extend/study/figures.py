"""The paper's Figures 3 and 4 as PNG: Backward and Forward Relative Gain by stage, a line a method. Knows no store."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from extend.study.results import Results, Run, Values, plain_variants


def draw(results: Results, folder: Path) -> list[Path]:
    """backward.png and forward.png, averaged over orders and seeds, as in the paper. Returns those that were drawn."""
    chosen: list[tuple[str, str, Callable[[Run], Sequence[Values | None]]]] = [
        ("backward", "Backward Relative Gain, %", lambda one: one.backward),
        ("forward", "Forward Relative Gain, %", lambda one: one.forward),
    ]
    return [_draw(results, folder / f"{name}.png", title, values) for name, title, values in chosen]


def _draw(results: Results, path: Path, title: str, values: Callable[[Run], Sequence[Values | None]]) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for text in plain_variants(results):
        lines = [values(one) for one in results.runs if one.variant == text]
        known = [[value for value in line if value is not None] for line in lines]
        if not known or any(len(some) < len(line) for some, line in zip(known, lines, strict=True)):
            continue
        stages = 100 * np.mean([np.stack(line) for line in known], axis=0)  # (m, R)
        places = range(1, len(stages) + 1)
        low, high = np.nanpercentile(stages[:, 1:], [2.5, 97.5], axis=1)
        (drawn,) = axes.plot(places, stages[:, 0], marker="o", linewidth=1.6, label=text)
        axes.fill_between(places, low, high, color=drawn.get_color(), alpha=0.12, linewidth=0)
    axes.set_xlabel("stage")
    axes.set_ylabel(title)
    axes.set_xticks(list(range(1, 1 + max((len(one.order) for one in results.runs), default=1))))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)
    return path
