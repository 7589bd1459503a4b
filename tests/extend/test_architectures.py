"""MERA on other architectures (paper, Appendix A.3): align and realign train what a modality calls its connector."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from extend import run
from extend.recipe import Recipe
from modalities.assemble import assemble
from modalities.base import find
from modalities.checkpoint import Store
from tests import pico
from tests.extend.recipes import VALUES

SHORT = Recipe.model_validate(VALUES | {"warm": None, "calibrate": False, "tune": {**VALUES["tune"], "epochs": 1}})  # type: ignore[dict-item]
PULSE = "tests.toy.pulse"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    pico.backbone(made.assets / "pico")
    return made


def connector(store: Store, id: str, name: str) -> dict[str, torch.Tensor]:
    return load_file(store.folder(id) / "connectors" / f"{name}.safetensors")


def test_one_connector_is_shared_by_all_modalities(store: Store) -> None:
    first = run.add(store, "tests.toy.uni_tone", SHORT, parent=None)
    second = run.add(store, "tests.toy.uni_pulse", SHORT, parent=first.id)
    model = assemble(store, store.load(second.id))
    assert model.embedder.connectors["tone"] is model.embedder.connectors["pulse"]
    tone, pulse = (connector(store, second.id, name) for name in ("tone", "pulse"))
    assert all(torch.equal(tone[key], pulse[key]) for key in tone)
    assert not torch.equal(tone["linear_1.weight"], connector(store, first.id, "tone")["linear_1.weight"])


def test_connectors_that_are_only_alike_stay_apart(store: Store) -> None:
    model = assemble(store, store.load(run.add(store, "tests.toy.tone", SHORT, parent=None).id))
    assert model.embedder.add(find("tests.toy.uni_pulse")) is not model.embedder.connectors["tone"]
    assert model.embedder.add(find(PULSE)) is not model.embedder.connectors["tone"]


@pytest.mark.parametrize(
    ("module", "trained"),
    [("tests.toy.top_tone", {"layer.weight", "layer.bias"}), ("tests.toy.raw_tone", {"embed.weight", "embed.bias"})],
)
def test_a_last_layer_or_an_input_embedding_is_aligned_and_realigned(
    store: Store, module: str, trained: set[str]
) -> None:
    first = run.add(store, module, SHORT, parent=None)
    aligned = connector(store, first.id, "tone")
    assert aligned.keys() == trained
    second = run.add(store, PULSE, SHORT, parent=first.id)
    realigned = connector(store, second.id, "tone")
    assert any(not torch.equal(aligned[key], realigned[key]) for key in trained), "Realigning trains it too."


def test_a_last_layer_starts_as_it_was_published(store: Store) -> None:
    slow = SHORT.model_dump() | {
        phase: {**VALUES[phase], "lr_connector": 1e-9, "epochs": 1}  # type: ignore[dict-item]
        for phase in ("align", "tune", "realign")
    }
    made = run.add(store, "tests.toy.top_tone", Recipe.model_validate(slow), parent=None)
    published = find("tests.toy.top_tone").connector(9, pico.WIDTH)
    published.pretrained(store.root)  # type: ignore[operator]
    assert torch.allclose(
        connector(store, made.id, "tone")["layer.weight"].float(), published.state_dict()["layer.weight"], atol=1e-3
    )
