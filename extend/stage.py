"""A stage: all that a method may touch while it teaches one modality, and the phases that survive a kill.

It does not know what the phases do (steps.py) nor in which order a method runs them (methods/).
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, cast

from extend.data import StageData
from extend.processes import kept, together
from extend.recipe import Recipe
from extend.train import Curve
from modalities.assemble import fold, load_connector, save_connectors
from modalities.base import Modality
from modalities.checkpoint import Delta
from modalities.mllm import MLLM
from modalities.woven import weave

DONE = "done.json"


@dataclass
class Stage:
    """Learning modality M_i from θ_{i-1}. `model` is θ_{i-1} at first, θ_i in the end.

    `work` holds one folder for each finished phase; `store` is what connectors may start from. `delta` is Δ_i once it
    is trained; `deltas` are folded, and `learned` are the folders of this stage under their names in the checkpoint.
    `adapters` are the folders of the deltas that are folded in θ_{i-1}.
    `carry` is what the stage before handed on, `hand_on` what this one does; both are files by name.
    """

    index: int
    model: MLLM
    modality: Modality
    data: StageData
    recipe: Recipe
    work: Path
    store: Path = Path("store")
    adapters: list[Path] = field(default_factory=list)
    carry: dict[str, Path] = field(default_factory=dict)
    hand_on: dict[str, Path] = field(default_factory=dict)
    delta: Path | None = None
    deltas: list[Delta] = field(default_factory=list)
    learned: dict[str, Path] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The folder of this stage's delta inside a checkpoint: `llm/02-pointcloud`."""
        return f"llm/{self.index:02d}-{self.modality.name}"

    def apply(self, delta: Path, scale: float, part: str = "") -> None:
        """Fold a trained delta, or a part of one, into the LLM and put it on the list that rebuilds it."""
        fold(self.model.llm, delta, scale)
        self.deltas.append(Delta(path=self.name + part, scale=scale))
        self.learned[self.name + part] = delta

    def weave(self, folder: Path) -> None:
        """Put trained Adapter-in-Adapter modules beside the LLM's layers, where they stay."""
        weave(self.model.llm, [folder], self.adapters)
        self.learned[self.name] = folder


P = ParamSpec("P")


def phase(step: Callable[Concatenate[Stage, Path, P], Curve | None]) -> Callable[Concatenate[Stage, P], None]:
    """Run a step once. Its outcome (connectors, a trained delta, its curve) is saved when it ends; a resumed run
    loads it instead, and goes on from exactly the same bytes."""

    @wraps(step)
    def run(stage: Stage, *args: P.args, **kwargs: P.kwargs) -> None:
        saved = stage.work / step.__name__
        if not (saved / DONE).is_file():
            with kept(saved) as folder:
                curve = step(stage, folder, *args, **kwargs)
                save_connectors(dict(stage.model.embedder.connectors.items()), folder / "connectors")
                (folder / DONE).write_text(json.dumps(asdict(curve) if curve else None))
        together()
        _restore(stage, saved)

    return cast(Callable[Concatenate[Stage, P], None], run)


def _restore(stage: Stage, saved: Path) -> None:
    """What the phase left behind. Also done right after it, so that a resumed run can't differ."""
    if stage.modality.name not in stage.model.embedder.connectors:
        stage.model.embedder.add(stage.modality)
    for name, connector in stage.model.embedder.connectors.items():
        load_connector(connector, saved / "connectors" / f"{name}.safetensors")
    if (saved / "delta").is_dir():
        stage.delta = saved / "delta"
    curve: dict[str, Any] | None = json.loads((saved / DONE).read_text())
    if curve:
        stage.curves.append(Curve(**curve))
