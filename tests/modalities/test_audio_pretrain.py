"""Pretraining the sound encoder, on a few real phrases."""

from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

from modalities.audio.encoder import BANDS, FRAMES, AudioEncoder
from modalities.audio.fonts import TEST, TRAIN
from modalities.audio.instruments import events, instruments
from modalities.audio.pretrain import FAMILIES, NAMES, PROGRAMS, Labels, augment, main, phrase_of, render


def test_no_melody_of_the_test_and_no_font_of_its_family_is_ever_learned_from() -> None:
    random = Random(0)
    assert not any(phrase_of(program, random).held_out for program in range(PROGRAMS) for _ in range(20))
    assert TEST.family not in {font.family for font in TRAIN}


def test_what_is_not_known_is_no_label() -> None:
    programs = list(range(PROGRAMS))
    labels = Labels(programs, [phrase_of(program, Random(program)) for program in programs])
    named = {program: one for one in instruments() for program in one.programs}
    sounds = {one.program: one.name for one in events()}
    for program in programs:
        name = named[program].name if program in named else sounds.get(program)
        assert int(labels.name[program]) == (NAMES.index(name) if name else -1)
        assert int(labels.family[program]) == (FAMILIES.index(named[program].family) if program in named else -1)
        assert (int(labels.count[program]) < 0) == (program in sounds)


@pytest.fixture(scope="module")
def seen(shared_store: Path) -> Tensor:
    return render(shared_store, 1)[0]


def test_each_program_is_rendered_on_each_font(seen: Tensor) -> None:
    assert seen.shape == (PROGRAMS * len(TRAIN), BANDS, FRAMES)
    assert seen.dtype == torch.float16
    torch.testing.assert_close(seen.amax((1, 2)).float(), torch.ones(len(seen)))


def test_augmented_sounds_are_still_pictures_and_no_two_alike(seen: Tensor) -> None:
    given = seen[:1].expand(16, -1, -1)
    heard = augment(given, torch.Generator().manual_seed(0))
    assert heard.shape == given.shape
    assert heard.min() >= 0
    assert heard.max() <= 1.2
    assert len({float(one.sum()) for one in heard}) == 16
    sounding, before = (heard > 0.7).any(1), (given > 0.7).any(1)  # (B, L)
    assert (sounding.float().argmax(1) >= before.float().argmax(1) - 1).all(), "Sounds come later, not sooner."


def test_the_script_writes_weights_that_load_and_the_seed_decides_them(shared_store: Path, tmp_path: Path) -> None:
    for file, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        out = str(tmp_path / f"{file}.safetensors")
        main(["--store", str(shared_store), "--out", out, "--epochs", "1", "--each", "1", "--seed", seed])
    one, again, other = (AudioEncoder(tmp_path / f"{file}.safetensors").identity for file in "abc")
    assert one == again != other
