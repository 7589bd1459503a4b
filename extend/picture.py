"""The loss picture of a run: one panel a phase. It knows curves and nothing else."""

from collections.abc import Sequence
from pathlib import Path

from extend.train import SMOOTHING, Curve


def draw_losses(curves: Sequence[Curve], title: str, path: Path) -> None:
    """Loss against steps for each phase that trained something, raw and smoothed, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * max(1, len(curves)), 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    for place, curve in enumerate(curves, start=1):
        axes = figure.add_subplot(1, len(curves), place)
        axes.plot(curve.losses, color="#b9cbe0", linewidth=0.8)
        axes.plot(_smooth(curve.losses), color="#1f4e8c", linewidth=1.6)
        axes.set_title(f"{curve.phase}: {curve.samples:,} samples, {curve.seconds / 60:.1f} min", fontsize=9)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _smooth(losses: Sequence[float]) -> list[float]:
    out: list[float] = []
    for loss in losses:
        out.append(loss if not out else SMOOTHING * out[-1] + (1 - SMOOTHING) * loss)
    return out
