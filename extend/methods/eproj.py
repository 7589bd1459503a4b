"""EProj: only what belongs to the new modality is trained, so the LLM forgets nothing (paper, Appendix C.3)."""

from extend.stage import Stage
from extend.steps import align, project

CANNOT = {
    "realign": "its LLM never moves, so nothing is misaligned (paper, footnote 3)",
    "noise": "it replays nothing",
    "sweep": "it merges nothing",
    "connectors": "it merges nothing",
    "worst": "it realigns nothing",
}


def run(stage: Stage) -> None:
    align(stage)
    project(stage)  # the connector on captions and questions, the LLM frozen
