"""PathWeave: Adapter-in-Adapter modules in the LLM, all of them kept on at test time (paper, Appendix C.3).

They never fold into weights, so only the transformers engine serves them. The first stage is plain fine-tuning.
"""

from extend.methods import finetune
from extend.stage import Stage
from extend.steps import align, entwine, weave

CANNOT = {
    "sweep": "it merges nothing",
    "connectors": "it merges nothing",
    "worst": "its modules cannot be taken out again, to compare with",
}
CANNOT_ALONE = {"noise": "it replays nothing"}


def run(stage: Stage) -> None:
    if stage.index == 1:
        return finetune.run(stage)
    align(stage)
    entwine(stage)  # the new modules, and the connector
    weave(stage)
    return None
