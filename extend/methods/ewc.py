"""Online EWC: weights that the old modalities need may move less (paper, Appendix C.3)."""

from functools import partial

from extend.fisher import penalty
from extend.stage import Stage
from extend.steps import align, fold, importance, tune

CANNOT = {"sweep": "it merges nothing", "connectors": "it merges nothing"}
CANNOT_ALONE = {"noise": "it replays nothing", "worst": "it realigns nothing"}


def run(stage: Stage) -> None:
    align(stage)
    needed = importance(stage, share=0.01)  # F_1 + … + F_{i-1}; the last from 1 % of D_{i-1}
    held = partial(penalty, importance=needed, strength=1.0) if needed else None  # λ = 1
    tune(stage, stage.data.new, penalty=held)
    fold(stage, scale=1.0)
