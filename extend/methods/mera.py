"""MERA: merge, then realign (paper §4)."""

from extend.stage import Stage
from extend.steps import align, merge, realign, tune

CANNOT = {"realign": "it ends with realigning already; --replay says on how much"}


def run(stage: Stage) -> None:
    align(stage)  # connector of M_i on captions
    tune(stage, stage.data.new)  # LoRA on the LLM, and the connector
    merge(stage)  # θ_{i-1} + Δ/i
    realign(stage)  # all connectors on r % of D_1 … D_i, LLM frozen
