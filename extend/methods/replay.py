"""Replay: the new modality's samples and r % of the old ones', in one mixture (paper, Appendix C.3)."""

from itertools import chain

from extend.stage import Stage
from extend.steps import align, fold, tune
from extend.training import noisy

CANNOT = {"sweep": "it merges nothing", "connectors": "it merges nothing"}
CANNOT_ALONE = {"worst": "it realigns nothing"}


def run(stage: Stage) -> None:
    align(stage)
    replayed = noisy(stage, stage.data.replay_old(stage.recipe.replay, stage.recipe.seed))  # R_i of D_1 … D_{i-1}
    tune(stage, stage.data.new, [*chain.from_iterable(replayed)])  # on D_i and R_i jointly
    fold(stage, scale=1.0)
