"""Plain fine-tuning: nothing is done against forgetting (paper, Appendix C.3)."""

from extend.stage import Stage
from extend.steps import align, fold, tune

CANNOT = {"sweep": "it merges nothing", "connectors": "it merges nothing"}
CANNOT_ALONE = {"noise": "it replays nothing", "worst": "it realigns nothing"}


def run(stage: Stage) -> None:
    align(stage)
    tune(stage, stage.data.new)
    fold(stage, scale=1.0)
