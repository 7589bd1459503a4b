"""Each method against its definition (paper, Appendix C.3), on the pico model, in float64 where there is arithmetic."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from extend import RunError, run, steps
from extend.adapter import Adapter
from extend.data import StageData, by_media, draw, mispair, parted
from extend.export import export
from extend.fisher import fisher, linear_weights, penalty
from extend.methods import method_of, methods, replay
from extend.recipe import Lora, Options, Recipe
from extend.stage import Stage
from extend.weaving import Weaving
from modalities.assemble import assemble, folded
from modalities.base import TEXT, Sample, find
from modalities.checkpoint import Checkpoint, Store, StoreError
from modalities.deltas import read_delta
from modalities.mllm import MLLM
from modalities.woven import FILE, Woven, close_layers, open_layers, weave, woven_folders
from serving.deployment import in_process
from serving.engine import Sampling
from serving.loading import OnVllm
from tests import pico
from tests.extend.recipes import PICO

TONE, PULSE = "tests.toy.tone", "tests.toy.pulse"
SHORT = PICO.model_copy(update={"tune": PICO.tune.model_copy(update={"epochs": 1})})
PROMPT = torch.tensor([[1, 40, 50, 60, 70, 80, 90, 100]])


def train_of(store: Store, *names: str) -> list[tuple[Sample, ...]]:
    return [tuple(sample for one in find(name).datasets(store.root) for sample in one.train) for name in names]


def options(**changes: object) -> Recipe:
    return SHORT.model_copy(update={"options": Options.model_validate(changes)})


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Checkpoint]:
    """A store in which tone was learned by plain fine-tuning."""
    store = Store(tmp_path_factory.mktemp("first") / "store")
    pico.backbone(store.assets / "pico")
    return store, run.add(store, TONE, SHORT, parent=None, method="finetune")


@pytest.fixture
def stage(first: tuple[Store, Checkpoint], tmp_path: Path) -> Stage:
    """The second stage, about to be learned."""
    store, before = first
    old, new = train_of(store, TONE, PULSE)
    work = Stage(2, assemble(store, before), find(PULSE), StageData(new, (old,)), SHORT, tmp_path / "work")
    work.adapters = [store.folder(before.id) / delta.path for delta in before.deltas]
    return work


def second(first: tuple[Store, Checkpoint], method: str, recipe: Recipe = SHORT) -> Checkpoint:
    return run.add(first[0], PULSE, recipe, parent=first[1].id, method=method)


def llm_of(store: Store, made: Checkpoint) -> dict[str, Tensor]:
    return dict(folded(store, made).llm.state_dict())


def shown(store: Store, made: Checkpoint, phase: str) -> int:
    """How many samples a phase has been shown."""
    curves = {one["phase"]: one for one in run.figures(store, made.id)["phases"]}
    return int(curves[phase]["samples"])


class TestEWC:
    def test_the_fisher_information_is_the_mean_square_of_each_sample_s_gradient(
        self, first: tuple[Store, Checkpoint]
    ) -> None:
        store, before = first
        model = assemble(store, before)
        model.llm.double()
        samples = train_of(store, TONE)[0][:5]
        found = fisher(model, samples)
        assert not any(weight.requires_grad for weight in linear_weights(model).values()), "It leaves the LLM frozen."

        expected = {name: torch.zeros_like(weight) for name, weight in linear_weights(model).items()}
        model.llm.requires_grad_(True)
        for sample in samples:
            model.zero_grad()
            model.loss([sample]).backward()
            weights = dict(model.llm.named_parameters())
            for name in expected:
                gradient = weights[name].grad
                assert gradient is not None
                expected[name] += gradient**2 / len(samples)
        assert found.keys() == expected.keys()
        assert found
        for name, value in found.items():
            assert value.dtype == torch.float64
            assert torch.allclose(value, expected[name], rtol=1e-10, atol=0)

    def test_the_penalty_and_its_gradient_are_the_explicit_formula(self, first: tuple[Store, Checkpoint]) -> None:
        llm = assemble(*first).llm.double()
        draw_ = torch.Generator().manual_seed(3)
        with Adapter(llm, Lora(rank=4, alpha=8)) as adapter:
            for parameter in adapter.parameters:
                parameter.data = torch.randn(parameter.shape, generator=draw_, dtype=torch.float64)
                parameter.requires_grad_(True)
            pairs = {name: (a.detach(), b.detach()) for name, a, b in adapter.pairs()}
            importance = {
                name: torch.rand(b.shape[0], a.shape[1], generator=draw_, dtype=torch.float64)
                for name, (a, b) in pairs.items()
            }
            value = penalty(adapter, importance, strength=0.7)
            value.backward()

            explicit = 0.0
            for name, (a, b) in pairs.items():  # b has the factor 2 = alpha/r in it
                explicit += float((0.7 / 2 * importance[name] * (b @ a) ** 2).sum())
                module = llm.get_submodule(name.removesuffix(".weight"))
                found_a, found_b = module.lora_A["default"].weight.grad, module.lora_B["default"].weight.grad
                pull = 0.7 * importance[name] * (b @ a)
                assert torch.allclose(found_a, b.T @ pull)
                assert torch.allclose(found_b, 2 * pull @ a.T)
            assert value.item() == pytest.approx(explicit, rel=1e-12)
            assert explicit > 0

    def test_what_is_handed_on_is_the_sum_over_the_stages_before(self, first: tuple[Store, Checkpoint]) -> None:
        store, before = first
        middle = second(first, "ewc")
        last = run.add(store, "tests.toy.chirp", SHORT, parent=middle.id, method="ewc")
        old, new = train_of(store, TONE, PULSE)
        one = fisher(assemble(store, before), draw(old, 0.01, SHORT.seed))
        two = fisher(assemble(store, middle), draw(new, 0.01, SHORT.seed))
        carried = load_file(store.folder(middle.id) / "carry" / steps.FISHER)
        online = load_file(store.folder(last.id) / "carry" / steps.FISHER)
        for name, value in one.items():
            assert torch.equal(carried[name], value.bfloat16())
            assert torch.equal(online[name], (two[name] + carried[name]).bfloat16())

    def test_a_strong_penalty_holds_the_llm_where_it_was(self, stage: Stage, tmp_path: Path) -> None:
        free, held = (ewc_distance(stage, tmp_path / name, strength) for name, strength in (("a", 0.0), ("b", 1e8)))
        assert held < 0.5 * free

    def test_the_first_stage_needs_no_fisher(self, first: tuple[Store, Checkpoint]) -> None:
        made = run.add(first[0], TONE, SHORT, parent=None, method="ewc")
        assert made.deltas == first[1].deltas
        assert {name: made.files[name] for name in made.files} == first[1].files, "It is plain fine-tuning."


def ewc_distance(stage: Stage, work: Path, strength: float) -> float:
    """How far the LLM has moved where it matters, with a penalty of this strength."""
    stage.work = work
    steps.align(stage)
    needed = steps.importance(stage, share=1.0)
    steps.tune(stage, stage.data.new, penalty=lambda adapter: penalty(adapter, needed, strength))
    assert stage.delta is not None
    moved = read_delta(stage.delta, 1.0)
    return sum(
        float((needed[name] * (part.factor * part.b.float() @ part.a.float()) ** 2).sum())
        for name, part in moved.items()
    )


class TestReplay:
    @pytest.mark.parametrize("share", [0.1, 0.5])
    def test_the_mixture_is_all_that_is_new_and_a_share_of_each_old_modality(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch, share: float
    ) -> None:
        old = stage.data.old[0]
        other = tuple(sample for sample in old if sample.task == "qa")
        stage.data = StageData(stage.data.new, (old, other))
        stage.recipe = SHORT.model_copy(update={"replay": share})
        seen: list[Sample] = []
        monkeypatch.setattr(replay, "tune", lambda stage, new, mixed: seen.extend([*new, *mixed]))
        monkeypatch.setattr(replay, "fold", lambda stage, scale: None)
        replay.run(stage)
        files = [len(by_media(domain)) for domain in (old, other)]
        count = Counter(sample.prompt[0].modality for sample in seen)
        assert count["pulse"] == len(stage.data.new)
        assert count["tone"] == round(share * files[0]) * 2 + round(share * files[1])  # a caption and a question a file
        assert {sample for sample in seen if sample.prompt[0].modality == "tone"} <= set(old)

    def test_old_connectors_are_trained_too(self, first: tuple[Store, Checkpoint]) -> None:
        made, plain = second(first, "replay"), second(first, "finetune")
        name = "connectors/tone.safetensors"
        assert made.files[name] != first[1].files[name] == plain.files[name]
        assert shown(first[0], made, "tune") == shown(first[0], plain, "tune") + 0.5 * 96

    def test_all_that_is_replayed_is_in_the_mixture_whatever_share_the_phase_takes(
        self, first: tuple[Store, Checkpoint]
    ) -> None:
        half = SHORT.model_copy(update={"tune": SHORT.tune.model_copy(update={"share": 0.5})})
        assert shown(first[0], second(first, "replay", half), "tune") == 0.5 * 96 + 0.5 * 96


class TestEProj:
    def test_the_llm_is_bit_identical_and_only_the_new_connector_is_new(self, first: tuple[Store, Checkpoint]) -> None:
        store, before = first
        made = second(first, "eproj")
        assert made.deltas == before.deltas
        old, new = llm_of(store, before), llm_of(store, made)
        assert all(torch.equal(old[name], new[name]) for name in old)
        assert made.files["connectors/tone.safetensors"] == before.files["connectors/tone.safetensors"]

    def test_while_it_is_trained_no_weight_of_the_llm_moves(self, stage: Stage) -> None:
        start = {name: value.clone() for name, value in stage.model.llm.state_dict().items()}
        method_of("eproj", Options()).run(stage)
        assert all(torch.equal(value, start[name]) for name, value in stage.model.llm.state_dict().items())
        assert [curve.phase for curve in stage.curves][-1] == "project"

    def test_a_first_stage_has_no_delta_at_all(self, first: tuple[Store, Checkpoint]) -> None:
        made = run.add(first[0], TONE, SHORT, parent=None, method="eproj")
        assert made.deltas == ()


class TestPathWeave:
    def logits(self, llm: nn.Module) -> Tensor:
        with torch.no_grad():
            out: Tensor = llm(input_ids=PROMPT).logits
        return out

    def test_at_initialisation_the_output_is_the_base_s(self, stage: Stage) -> None:
        llm = stage.model.llm.double()
        before = self.logits(llm)
        with Weaving(llm, SHORT.lora, stage.adapters) as weaving:
            assert weaving.parameters
            assert torch.allclose(self.logits(llm), before, atol=1e-12)
        assert not any(isinstance(module, Woven) for module in llm.modules()), "Afterwards its layers are plain again."
        assert torch.equal(self.logits(llm), before)

    def test_a_strand_computes_what_its_docstring_says(self, stage: Stage) -> None:
        llm = stage.model.llm.double()
        name, layer = next(iter(open_layers(llm, stage.adapters).items()))
        one, two = layer.grow(3), layer.grow(2)
        draw_ = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in (*one.parameters(), *two.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=draw_))
        x = torch.randn(5, 32, generator=draw_, dtype=torch.float64)
        a0, b0 = layer.get_buffer("down0"), layer.get_buffer("up0")
        g1, g2 = (x @ one.gate).softmax(-1), (x @ two.gate).softmax(-1)
        y = layer.base(x)
        y = y + g1[:, :1] * (x @ a0.T @ one.inner[0].T @ b0.T) + g1[:, 1:] * (x @ one.a.T @ one.b.T)
        y = y + g2[:, :1] * (x @ a0.T @ two.inner[0].T @ b0.T) + g2[:, 1:2] * (x @ one.a.T @ two.inner[1].T @ one.b.T)
        y = y + g2[:, 2:] * (x @ two.a.T @ two.b.T)
        assert torch.allclose(layer(x), y)
        assert name.endswith("q_proj")

    def test_it_grows_with_each_stage_and_keeps_what_was_learned(self, first: tuple[Store, Checkpoint]) -> None:
        store, before = first
        middle = second(first, "pathweave")
        last = run.add(store, "tests.toy.chirp", SHORT, parent=middle.id, method="pathweave")
        assert last.deltas == middle.deltas == before.deltas, "Nothing of it folds into the LLM."
        sizes = [sum(p.numel() for p in assemble(store, made).llm.parameters()) for made in (before, middle, last)]
        assert 0 < sizes[1] - sizes[0] < sizes[2] - sizes[1]
        kept = f"llm/02-pulse/{FILE}"
        assert last.files[kept] == middle.files[kept]
        assert [folder.name for folder in woven_folders(store, last)] == ["02-pulse", "03-chirp"]
        a, b = assemble(store, middle).llm, assemble(store, last).llm
        assert not torch.equal(self.logits(a), self.logits(b)), "The new modules are on for everything (Appendix C.3)."

    def test_what_is_assembled_is_what_was_trained(self, stage: Stage) -> None:
        stage.work.mkdir()
        method_of("pathweave", Options()).run(stage)
        assert stage.delta is not None
        trained = self.logits(stage.model.llm)
        close_layers(stage.model.llm)
        weave(stage.model.llm, [stage.delta], stage.adapters)
        assert torch.equal(self.logits(stage.model.llm), trained)

    def test_the_transformers_engine_serves_it_and_vllm_refuses_it_by_name(
        self, first: tuple[Store, Checkpoint], tmp_path: Path
    ) -> None:
        store, made = first[0], second(first, "pathweave")
        sample = find(PULSE).datasets(store.root)[0].test[0]

        async def ask() -> list[str]:
            deployment = in_process(store, made.id)
            try:
                return await deployment.answers([sample.prompt], Sampling(max_tokens=4))
            finally:
                await deployment.close()

        assert asyncio.run(ask())
        with pytest.raises(StoreError, match="vLLM cannot take them: .*--engine transformers"):
            asyncio.run(OnVllm({}).load(store, made.id))
        with pytest.raises(StoreError, match="a plain LLM cannot take them"):
            export(store, made.id, tmp_path / "out")

    def test_no_other_method_goes_on_from_it(self, first: tuple[Store, Checkpoint]) -> None:
        made = second(first, "pathweave")
        with pytest.raises(StoreError, match="made by pathweave, whose modules stay inside the LLM; mera cannot take"):
            run.add(first[0], "tests.toy.chirp", SHORT, parent=made.id)


class TestRealign:
    @pytest.mark.parametrize("method", ["finetune", "replay", "ewc", "merge", "pathweave"])
    def test_it_touches_connectors_only_and_all_of_them(self, first: tuple[Store, Checkpoint], method: str) -> None:
        made, plain = second(first, method, options(realign=0.5)), second(first, method)
        moved = {name for name in plain.files if made.files[name] != plain.files[name]}
        assert moved == {"connectors/tone.safetensors", "connectors/pulse.safetensors"}
        assert made.files.keys() == plain.files.keys()
        assert shown(first[0], made, "realign") == 0.5 * (96 + 96)

    def test_merging_and_realigning_is_mera(self, first: tuple[Store, Checkpoint]) -> None:
        assert second(first, "merge", options(realign=SHORT.replay)).files == second(first, "mera").files


class TestNoise:
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
    def test_exactly_the_share_asked_for_is_mispaired(self, first: tuple[Store, Checkpoint], share: float) -> None:
        samples = [*train_of(first[0], TONE)[0][:37], *train_of(first[0], PULSE)[0][:20]]
        noisy = mispair(samples, share, seed=4)
        changed = [(one, two) for one, two in zip(samples, noisy, strict=True) if one != two]
        assert len(changed) == round(share * len(samples))
        for one, two in changed:
            assert (one.id, one.answers, one.prompt[1:]) == (two.id, two.answers, two.prompt[1:])
            assert one.prompt[0].modality == two.prompt[0].modality != TEXT
            assert one.prompt[0] != two.prompt[0]
        assert noisy == mispair(samples, share, seed=4)

    def test_one_file_alone_cannot_be_mispaired(self, first: tuple[Store, Checkpoint]) -> None:
        with pytest.raises(RunError, match="Only one tone file is replayed.*raise --replay"):
            mispair(train_of(first[0], TONE)[0][:1], 1.0, seed=0)

    def test_a_run_with_noise_is_another_run(self, first: tuple[Store, Checkpoint]) -> None:
        noisy, clean = second(first, "mera", options(noise=0.5)), second(first, "mera")
        assert noisy.deltas == clean.deltas
        assert noisy.files["connectors/tone.safetensors"] != clean.files["connectors/tone.safetensors"]


def test_held_out_files_are_not_trained_on(first: tuple[Store, Checkpoint]) -> None:
    trained, held = parted(train_of(first[0], TONE)[0], 0.25, seed=1)
    assert len(held) == 24
    assert len(trained) == 72
    assert not {sample.prompt[0] for sample in trained} & {sample.prompt[0] for sample in held}
    with pytest.raises(RunError, match="raise --replay"):
        parted(train_of(first[0], TONE)[0][:1], 0.25, seed=1)


@pytest.mark.parametrize(
    ("method", "asked", "why"),
    [
        ("mera", {"realign": 0.1}, "mera cannot be run with realign: it ends with realigning already"),
        ("eproj", {"realign": 0.1}, "eproj cannot be run with realign: its LLM never moves, so nothing is misaligned"),
        ("finetune", {"noise": 0.1}, "finetune cannot be run with noise: it replays nothing; add realign"),
        ("ewc", {"sweep": "stage"}, "ewc cannot be run with sweep: it merges nothing"),
        ("pathweave", {"worst": True, "realign": 0.1}, "pathweave cannot be run with worst"),
        ("magic", {}, "No method 'magic'; there are: eproj, ewc, finetune, mera, merge, pathweave, replay"),
    ],
)
def test_what_a_method_cannot_do_is_said_by_name(method: str, asked: dict[str, object], why: str) -> None:
    with pytest.raises(RunError, match=why):
        method_of(method, Options.model_validate(asked))


def test_what_realigning_makes_possible_is_possible() -> None:
    for name in set(methods()) - {"mera", "eproj"}:
        method_of(name, Options(realign=0.1, noise=0.1))


def test_every_method_ends_with_a_model_that_answers(first: tuple[Store, Checkpoint]) -> None:
    store = first[0]
    samples = train_of(store, TONE, PULSE)
    for name in methods():
        model: MLLM = assemble(store, second(first, name))
        with torch.no_grad():
            assert all(model.loss(one[:4]).isfinite() for one in samples), name
