"""Past the paper: realigning that spends its samples where the gap is, and stops when there is none.

Connectors share nothing, and the LLM is frozen: training one on its own samples is what training all together would
do to it. So the same number of samples can go to the modality that needs them most. It knows no modality by name.
"""

from itertools import cycle, islice
from pathlib import Path

from extend.estimate import cleared, estimate, held_out
from extend.stage import Stage, phase
from extend.train import Curve
from extend.training import run_phase, spoken
from modalities.base import Sample

ROUNDS = 8  # at most; each takes an equal part of the samples that plain realigning would see


@phase
def realign_worst_first(stage: Stage, _: Path, share: float | None) -> Curve:
    """In every round, the connector of the modality that keeps least, on its next replayed samples."""
    settings = stage.recipe.realign
    trained, held = held_out(stage, share)
    total = sum(map(len, trained.values()))
    size = max(1, total // ROUNDS)
    queues = {name: cycle(samples) for name, samples in trained.items()}
    curve = Curve("realign")
    while curve.samples < total:
        found = estimate(stage, held)
        if cleared(found):
            break
        worst = min(found, key=lambda name: found[name].share)
        samples: list[Sample] = list(islice(queues[worst], size))
        groups = [(spoken(stage, samples), settings.lr_connector)]
        one = run_phase(stage, f"realign {worst} {curve.samples}", samples, settings, groups)
        curve.samples += len(samples)
        curve.seconds += one.seconds
        curve.cpu_seconds += one.cpu_seconds
        curve.peak_bytes = max(curve.peak_bytes, one.peak_bytes)
        curve.losses += one.losses
    return curve
