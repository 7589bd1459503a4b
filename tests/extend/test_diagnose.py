"""The probe on the pico model: a spoilt connector is misaligned, a spoilt LLM forgotten, and neither is touched."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from extend import RunError, run
from extend.diagnose import diagnose
from modalities.checkpoint import Checkpoint, Delta, Store
from tests import pico
from tests.extend.recipes import PICO

TONE = "tests.toy.tone"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Checkpoint]:
    """A store in which tone was learned well, and whose recipe realigns for long."""
    store = Store(tmp_path_factory.mktemp("first") / "store")
    pico.backbone(store.assets / "pico")
    longer = PICO.realign.model_copy(update={"lr_connector": 2e-2, "epochs": 30})
    return store, run.add(store, TONE, PICO.model_copy(update={"realign": longer}), parent=None)


def after(first: tuple[Store, Checkpoint], files: dict[str, Path], *deltas: Delta) -> Checkpoint:
    """A next stage that did nothing but put these files in place."""
    store, before = first
    fields = before.model_dump(exclude={"id", "files"}) | {"parent": before.id, "stage": 2}
    fields["deltas"] = (*before.deltas, *deltas)
    return store.publish({name: store.folder(before.id) / name for name in before.files} | files, **fields)


def test_a_stage_that_did_nothing_has_kept_everything(first: tuple[Store, Checkpoint]) -> None:
    (found,) = diagnose(first[0], after(first, {}).id)
    assert (found.modality, found.drift, found.lost, found.regained) == ("tone", 0.0, 0.0, 0.0)
    assert found.kind == "kept"


def test_a_spoilt_connector_is_misaligned(first: tuple[Store, Checkpoint], tmp_path: Path) -> None:
    store, before = first
    name = "connectors/tone.safetensors"
    tensors = load_file(store.folder(before.id) / name)
    tensors["norm.bias"] += torch.linspace(-1, 1, 32)
    save_file(tensors, tmp_path / "tone.safetensors")
    made = after(first, {name: tmp_path / "tone.safetensors"})
    (found,) = diagnose(store, made.id)
    assert found.drift > 0.1
    assert found.kind == "misaligned", found
    assert store.load(made.id) == made, "The checkpoint itself is not touched."


def test_a_spoilt_llm_is_forgotten(first: tuple[Store, Checkpoint], tmp_path: Path) -> None:
    torch.manual_seed(0)
    pico.adapter(tmp_path / "noise", seed=9, rank=16)
    files = {f"llm/02-noise/{path.name}": path for path in (tmp_path / "noise").iterdir()}
    (found,) = diagnose(first[0], after(first, files, Delta(path="llm/02-noise", scale=1.0)).id)
    assert found.drift == 0.0
    assert found.kind == "forgotten", found


def test_a_first_stage_has_nothing_to_diagnose(first: tuple[Store, Checkpoint]) -> None:
    with pytest.raises(RunError, match="only a later stage can have cost something"):
        diagnose(first[0], first[1].id)
