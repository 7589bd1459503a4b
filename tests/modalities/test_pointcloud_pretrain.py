"""Pretraining the point encoder, on a few real parts."""

from pathlib import Path

import pytest
import torch

from modalities.pointcloud.encoder import PointEncoder
from modalities.pointcloud.ldraw import Library
from modalities.pointcloud.pretrain import Labels, augment, main, seen
from modalities.pointcloud.sampling import POINTS


@pytest.fixture(scope="module")
def library(shared_store: Path) -> Library:
    return Library(shared_store)


def test_no_held_out_part_is_ever_learned_from(library: Library) -> None:
    learned = seen(library)
    assert len(learned) > 6000
    assert not any(record.held_out for record in learned)


def test_what_is_not_known_is_no_label(library: Library) -> None:
    records = seen(library)[:800]
    labels = Labels(records)
    unrecorded = [i for i, record in enumerate(records) if record.studs is None]
    unnamed = [i for i, kind in enumerate(labels.kind.tolist()) if kind < 0]
    assert labels.facts[unrecorded, 0].isnan().all()
    assert not labels.facts[:, 2].isnan().any()
    assert unnamed
    assert not labels.said[[i for i in range(len(records)) if i not in unnamed]].isnan().any()


def test_augmented_clouds_still_fill_their_box_and_have_one_colour_word() -> None:
    drawn = torch.rand(8, 1536, 3).half() * 2 - 1
    shades = [torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])]
    points, colour = augment(drawn, shades, torch.Generator().manual_seed(0))
    assert points.shape == (8, POINTS, 6)
    sides = points[..., :3].amax(1) - points[..., :3].amin(1)
    torch.testing.assert_close(sides.amax(1), torch.full((8,), 2.0))
    for cloud, word in zip(points, colour.tolist(), strict=True):
        if word >= 0:
            assert (cloud[:, 3] > cloud[:, 5]).float().mean() == (word == 0)
        else:
            assert (cloud[:, 3:] == 0.5).all()


def test_the_script_writes_weights_that_load_and_the_seed_decides_them(shared_store: Path, tmp_path: Path) -> None:
    for file, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        out = str(tmp_path / f"{file}.safetensors")
        main(["--store", str(shared_store), "--out", out, "--epochs", "1", "--parts", "64", "--seed", seed])
    one, again, other = (PointEncoder(tmp_path / f"{file}.safetensors").identity for file in "abc")
    assert one == again != other
