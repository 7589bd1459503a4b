"""Merging alone, without realigning: half of MERA, for the ablation (paper §4.1, Table 4)."""

from extend.stage import Stage
from extend.steps import align, merge, tune

CANNOT_ALONE = {"noise": "it replays nothing", "worst": "it realigns nothing"}


def run(stage: Stage) -> None:
    align(stage)
    tune(stage, stage.data.new)
    merge(stage)  # θ_{i-1} + Δ/i
