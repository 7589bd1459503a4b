"""Past the paper: coefficients chosen without training, connectors merged in closed form, the worst modality first."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from extend import estimate as estimating
from extend import merging, run, steps, worst
from extend.data import StageData
from extend.estimate import Kept, Scaled, cleared, held_out, kept, losses
from extend.methods import mera
from extend.recipe import Options
from extend.stage import Stage
from extend.training import run_phase
from modalities.assemble import assemble, fold, folded
from modalities.base import Sample, find
from modalities.checkpoint import Checkpoint, Store
from modalities.deltas import read_delta
from tests import pico
from tests.extend.test_methods import PULSE, SHORT, TONE, options, train_of


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Checkpoint]:
    """A store in which tone was learned by plain fine-tuning."""
    store = Store(tmp_path_factory.mktemp("first") / "store")
    pico.backbone(store.assets / "pico")
    return store, run.add(store, TONE, SHORT, parent=None, method="finetune")


@pytest.fixture
def stage(first: tuple[Store, Checkpoint], tmp_path: Path) -> Stage:
    """The second stage, tuned and not merged yet."""
    store, before = first
    old, new = train_of(store, TONE, PULSE)
    made = Stage(2, assemble(store, before), find(PULSE), StageData(new, (old,)), SHORT, tmp_path / "work")
    steps.align(made)
    steps.tune(made, made.data.new)
    return made


def second(first: tuple[Store, Checkpoint], **changes: object) -> Checkpoint:
    return run.add(first[0], PULSE, options(**changes), parent=first[1].id, method="mera")


class TestKept:
    def test_nothing_lost_is_one_and_the_bound_is_below(self) -> None:
        assert kept([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == Kept(1.0, 1.0)
        found = kept([1.5, 2.1, 3.3], [1.0, 2.0, 3.0])
        assert found.share == pytest.approx(math.exp(-0.3))
        spread = 0.2  # the sample standard deviation of .5, .1, .3
        assert found.low == pytest.approx(math.exp(-0.3 - 1.645 * spread / math.sqrt(3)))

    def test_one_file_bounds_nothing(self) -> None:
        assert kept([1.0], [1.0]) == Kept(1.0, 0.0)

    def test_it_clears_when_the_older_mean_and_the_worst_reach_the_gate_s_policy(self) -> None:
        assert cleared({"a": Kept(1, 0.96), "b": Kept(1, 0.91)})
        assert not cleared({"a": Kept(1, 0.94), "b": Kept(1, 0.99)}), "The older ones' mean."
        assert not cleared({"a": Kept(1, 0.99), "b": Kept(1, 0.89)}), "The worst, though it is the newest."


class TestSweep:
    def test_a_scale_that_is_tried_is_the_fold_bit_for_bit_and_leaves_nothing_behind(self, stage: Stage) -> None:
        assert stage.delta is not None
        start = {name: value.clone() for name, value in stage.model.llm.state_dict().items()}
        with Scaled(stage.model.llm, stage.delta) as scaled:
            for scale in (1.0, 0.3):
                scaled.set(dict.fromkeys(scaled.names, scale))
            tried = {name: value.clone() for name, value in stage.model.llm.state_dict().items()}
        assert all(torch.equal(value, start[name]) for name, value in stage.model.llm.state_dict().items())
        fold(stage.model.llm, stage.delta, 0.3)
        assert all(torch.equal(value, tried[name]) for name, value in stage.model.llm.state_dict().items())

    def test_the_reference_is_the_model_before_and_for_the_new_modality_the_tuned_one(self, stage: Stage) -> None:
        assert stage.delta is not None
        _, held = held_out(stage)
        before = losses(stage.model, held["tone"])
        estimating.remember(stage)
        then = json.loads((stage.work / "remember" / "losses.json").read_text())
        assert then["tone"] == before
        assert estimating.estimate(stage, held)["tone"] == Kept(1.0, 1.0), "Nothing is folded yet."
        fold(stage.model.llm, stage.delta, 1.0)
        assert estimating.estimate(stage, held)["pulse"] == Kept(1.0, 1.0), "This is the vanilla model."
        assert estimating.estimate(stage, held)["tone"] != Kept(1.0, 1.0)

    def test_the_coefficient_is_the_one_whose_worst_modality_keeps_most(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Tone loses with the scale, pulse without it: by these figures .6 is best."""
        tried: list[float] = []
        setter = Scaled.set

        def set_(self: Scaled, scales: dict[str, float]) -> None:
            tried.append(next(iter(scales.values())))
            setter(self, scales)

        def estimate(stage: Stage, held: object) -> dict[str, Kept]:
            return {"tone": Kept(1.4 - tried[-1], 0), "pulse": Kept(0.2 + tried[-1], 0)}

        monkeypatch.setattr(Scaled, "set", set_)
        monkeypatch.setattr(merging, "estimate", estimate)
        assert merging.fold_swept(stage, "stage") == 0.6
        assert [(delta.path, delta.scale) for delta in stage.deltas] == [("llm/02-pulse", 0.6)]
        assert tried[1] == 0.5, "The paper's own comes first."

    def test_by_depth_each_third_has_a_scale_and_the_checkpoint_holds_the_whole_delta(
        self, first: tuple[Store, Checkpoint]
    ) -> None:
        store, _ = first
        made = second(first, sweep="depth")
        parts = [delta for delta in made.deltas if delta.path.startswith("llm/02-pulse")]
        assert [delta.path for delta in parts] == ["llm/02-pulse.1", "llm/02-pulse.2"]  # two layers: two groups
        names = [set(read_delta(store.folder(made.id) / delta.path, 1.0)) for delta in parts]
        plain = second(first)
        assert set.union(*names) == set(read_delta(store.folder(plain.id) / "llm/02-pulse", 1.0))
        assert not set.intersection(*names)
        assert all("layers.0." in name for name in names[0])
        assert all(tensor.isfinite().all() for tensor in folded(store, made).llm.state_dict().values())

    def test_a_chosen_coefficient_is_in_the_manifest_and_what_is_served(self, first: tuple[Store, Checkpoint]) -> None:
        store, before = first
        made = second(first, sweep="stage")
        *old, new = made.deltas
        assert tuple(old) == before.deltas
        assert new.scale in {*merging.SCALES, 0.5}
        phases = [one["phase"] for one in run.figures(store, made.id)["phases"]]
        assert "choose" in phases, "What choosing costs is counted."

    def test_thirds_of_the_depth(self) -> None:
        names = [f"model.layers.{layer}.q.weight" for layer in range(7)]
        assert merging.thirds(names) == [names[:3], names[3:5], names[5:]]


class TestConnectors:
    def test_the_new_connector_is_merged_in_closed_form_and_old_ones_stay(self, stage: Stage) -> None:
        new = stage.model.embedder.connectors["pulse"]
        tuned = {name: value.clone() for name, value in new.state_dict().items()}
        tone = {k: v.clone() for k, v in stage.model.embedder.connectors["tone"].state_dict().items()}
        aligned = load_file(stage.work / "align_connector" / "connectors" / "pulse.safetensors")
        stage.recipe = options(connectors=True)
        steps.merge(stage)
        for name, value in new.named_parameters():
            assert torch.allclose(value.double(), 0.5 * aligned[name].double() + 0.5 * tuned[name].double(), atol=1e-7)
            assert not torch.equal(value, tuned[name])
        assert all(torch.equal(v, tone[k]) for k, v in stage.model.embedder.connectors["tone"].state_dict().items())

    def test_the_first_stage_has_nothing_to_merge_with(self, first: tuple[Store, Checkpoint]) -> None:
        made = run.add(first[0], TONE, options(connectors=True), parent=None, method="mera")
        assert made.files == first[1].files


class TestWorstFirst:
    def test_each_round_trains_the_connector_of_whatever_has_lost_most(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rounds: list[tuple[set[str], int]] = []

        def noted(stage: Stage, name: str, samples: Sequence[Sample], *rest: object) -> object:
            rounds.append(({sample.prompt[0].modality for sample in samples}, len(samples)))
            return run_phase(stage, name, samples, *rest)  # type: ignore[arg-type]

        shares = iter([{"tone": 0.5, "pulse": 0.7}, {"tone": 0.8, "pulse": 0.6}, {"tone": 0.97, "pulse": 0.95}])

        def estimate(stage: Stage, held: object) -> dict[str, Kept]:
            return {name: Kept(share, share) for name, share in next(shares).items()}

        monkeypatch.setattr(worst, "run_phase", noted)
        monkeypatch.setattr(worst, "estimate", estimate)
        stage.recipe = options(worst=True)
        steps.merge(stage)
        start = {name: value.clone() for name, value in stage.model.state_dict().items()}
        steps.realign(stage)
        size = sum(len(samples) for samples in held_out(stage)[0].values()) // worst.ROUNDS
        assert rounds == [({"tone"}, size), ({"pulse"}, size)], "It stops when the bounds clear."
        moved = {name for name, value in stage.model.state_dict().items() if not torch.equal(value, start[name])}
        assert moved
        assert all(name.startswith("embedder.connectors.") for name in moved)
        assert stage.curves[-1].samples == 2 * size

    def test_it_never_sees_more_than_plain_realigning_would(self, first: tuple[Store, Checkpoint]) -> None:
        made, plain = second(first, worst=True), second(first)
        seen, usual = (
            next(one for one in run.figures(first[0], id)["phases"] if one["phase"] == "realign")["samples"]
            for id in (made.id, plain.id)
        )
        assert 0 <= seen <= usual

    def test_what_it_estimates_on_it_does_not_train_on(self, stage: Stage) -> None:
        trained, held = held_out(stage)
        assert trained.keys() == held.keys() == {"tone", "pulse"}
        for name in held:
            files = [{sample.prompt[0] for sample in some[name]} for some in (trained, held)]
            assert files[0]
            assert files[1]
            assert not files[0] & files[1]


def test_a_run_with_options_that_was_stopped_ends_with_the_same_checkpoint(
    first: tuple[Store, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after everything was chosen and merged, before it was realigned."""
    store, before = first
    recipe = SHORT.model_copy(update={"options": Options(sweep="depth", connectors=True, worst=True), "seed": 5})
    whole = run.add(store, PULSE, recipe, parent=before.id)
    shutil.rmtree(store.folder(whole.id))

    def stop(stage: Stage) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mera, "realign", stop)
        with pytest.raises(KeyboardInterrupt):
            run.add(store, PULSE, recipe, parent=before.id)
    assert run.add(store, PULSE, recipe, parent=before.id).id == whole.id
