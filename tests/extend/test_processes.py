"""Two processes train what one trains: side by side (DDP), and with a piece of every weight each (FSDP 2)."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from extend import RunError, run
from extend.machine import accelerated
from extend.processes import share
from extend.recipe import Machine, load
from modalities.checkpoint import Store
from tests import pico
from tests.extend.recipes import TOML

ROOT = Path(__file__).parents[2]
RECIPE = TOML.replace("epochs = 8", "epochs = 2") + "[machine]\ncheckpointing = true\nmicro = 4\n"
SIDE_BY_SIDE = ["--multi_gpu", "--num_processes", "2", "--main_process_port", "0", "-m", "extend"]
SHARDED = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
num_machines: 1
num_processes: 2
main_process_port: 0
mixed_precision: 'no'
fsdp_config: {fsdp_version: 2, fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP, fsdp_cpu_ram_efficient_loading: false}
"""
NEARLY = 1e-4  # of a loss of 2 to 7: sums of float32 in another order


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, str]:
    """A store, a checkpoint of one modality in it, and one of two made by one process."""
    store = Store(tmp_path_factory.mktemp("alone") / "store")
    pico.backbone(store.assets / "pico")
    (store.root / "mine.toml").write_text(RECIPE)
    recipe = load(str(store.root / "mine.toml"))
    first = run.add(store, "tests.toy.tone", recipe, parent=None).id
    return store, first, run.add(store, "tests.toy.pulse", recipe, parent=first).id


def losses(store: Store, id: str) -> list[float]:
    phases = json.loads((store.folder(id) / "run.json").read_text())["phases"]
    assert [one["phase"] for one in phases] == ["warm start", "align", "tune", "realign"]
    return [loss for one in phases for loss in one["losses"]]


@pytest.mark.parametrize("sharded", [False, True], ids=["side by side", "sharded"])
def test_two_processes_make_the_checkpoint_that_one_makes(
    alone: tuple[Store, str, str], tmp_path: Path, sharded: bool
) -> None:
    """The second stage, whose realigning shows a process tones, or pulses, or both."""
    store, first, expected = alone
    here = Store(tmp_path / "store")
    shutil.copytree(store.root, here.root, symlinks=True)
    shutil.rmtree(here.checkpoints / expected)
    (tmp_path / "sharded.yaml").write_text(SHARDED)
    how = ["--config_file", str(tmp_path / "sharded.yaml"), "-m", "tests.extend.sharded"] if sharded else SIDE_BY_SIDE
    words = ["add-modality", "tests.toy.pulse", "--parent", first, "--recipe", str(here.root / "mine.toml"), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *how, *words, "--store", str(here.root)],
        cwd=ROOT,
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)["checkpoint"]  # one process speaks
    assert sorted(here.ids()) == sorted([first, made])
    assert here.load(made).modalities == ("tests.toy.tone", "tests.toy.pulse")
    assert not [path for path in here.work.iterdir() if path.name.startswith("pulse")]
    assert losses(here, made) == pytest.approx(losses(store, expected), abs=NEARLY)
    for name in ("connectors/tone", "connectors/pulse", "llm/02-pulse/adapter_model"):
        ours, theirs = (load_file(s.folder(i) / f"{name}.safetensors") for s, i in ((here, made), (store, expected)))
        assert all((ours[key].float() - theirs[key].float()).abs().max() < 1e-2 for key in theirs)


def test_shares_hold_every_item_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for rank in range(3):
        monkeypatch.setattr("extend.processes.here", lambda rank=rank: _Place(rank, 3))
        found.append(list(share("abcde")))
        assert list(share("a")) == (["a"] if rank == 2 else [])
    assert found == [["a"], ["b", "c"], ["d", "e"]]


class _Place:
    def __init__(self, process_index: int, num_processes: int) -> None:
        self.process_index, self.num_processes = process_index, num_processes


@pytest.mark.parametrize("kind", [DistributedType.DEEPSPEED, DistributedType.FSDP])
def test_what_extend_cannot_train_with_is_refused_with_the_cure(
    kind: DistributedType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Accelerator, "distributed_type", property(lambda self: kind))
    monkeypatch.setattr(Accelerator, "is_fsdp2", False)
    with pytest.raises(RunError, match=f"configured for {kind.value}; .* fsdp_version: 2"):
        accelerated(Machine())
