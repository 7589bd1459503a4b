"""The store: what is written is whole, what is damaged is refused by name, what is live moves in one step."""

import errno
import os
from pathlib import Path

import pytest

from modalities.assemble import assemble
from modalities.checkpoint import Store, StoreError, write
from tests import pico


def test_the_same_content_gets_the_same_id_and_other_content_another(pico_store: Store, tmp_path: Path) -> None:
    other = pico.store(tmp_path / "other")
    assert other.ids() == pico_store.ids()
    assert pico.checkpoint(other, 2).id not in pico_store.ids()


def test_an_unknown_id_is_answered_with_the_known_ones(pico_store: Store) -> None:
    with pytest.raises(StoreError, match=pico_store.ids()[0]):
        pico_store.load("0009-none")


@pytest.mark.parametrize("id", ["../../etc", "/etc", "..", ".hidden", "", "a/b"])
def test_an_id_is_never_a_path(pico_store: Store, id: str) -> None:
    with pytest.raises(StoreError, match="No checkpoint"):
        pico_store.load(id)


@pytest.mark.parametrize("name", ["connectors/tone.safetensors", "llm/01-tone/adapter_model.safetensors"])
def test_a_truncated_file_is_refused_by_name(pico_store: Store, name: str) -> None:
    id = pico_store.ids()[0]
    path = pico_store.folder(id) / name
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StoreError, match=name) as error:
        pico_store.load(id)
    assert str(pico_store.root) not in str(error.value)


def test_a_missing_file_is_refused_by_name(pico_store: Store) -> None:
    id = pico_store.ids()[0]
    (pico_store.folder(id) / "connectors/tone.safetensors").unlink()
    with pytest.raises(StoreError, match=r"connectors/tone\.safetensors is missing"):
        pico_store.load(id)


def test_an_edited_manifest_does_not_match_its_id(pico_store: Store) -> None:
    id = pico_store.ids()[0]
    manifest = pico_store.folder(id) / "checkpoint.json"
    manifest.write_text(manifest.read_text().replace('"scale": 1.0', '"scale": 0.5'))
    with pytest.raises(StoreError, match="does not match its id"):
        pico_store.load(id)


def test_a_manifest_that_is_no_json_is_refused(pico_store: Store) -> None:
    id = pico_store.ids()[0]
    (pico_store.folder(id) / "checkpoint.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        pico_store.load(id)


def test_a_connector_of_the_wrong_shape_is_refused_by_name(pico_store: Store) -> None:
    """Its hash is right and its content is not: a checkpoint made for another backbone."""
    import torch
    from safetensors.torch import load_file, save_file

    made = pico_store.load(pico_store.ids()[0])
    folder = pico_store.folder(made.id)
    wrong = load_file(folder / "connectors/tone.safetensors") | {"outer.weight": torch.zeros(7, 32)}
    save_file(wrong, pico_store.root / "wrong.safetensors")
    files = {name: folder / name for name in made.files} | {
        "connectors/tone.safetensors": pico_store.root / "wrong.safetensors"
    }
    fields = made.model_dump(exclude={"id", "files"})
    bad = pico_store.publish(files, **fields)
    with pytest.raises(StoreError, match=r"outer\.weight"):
        assemble(pico_store, pico_store.load(bad.id))


def test_a_checkpoint_of_another_encoder_is_refused(pico_store: Store) -> None:
    made = pico_store.load(pico_store.ids()[0])
    files = {name: pico_store.folder(made.id) / name for name in made.files}
    fields = made.model_dump(exclude={"id", "files"}) | {"encoders": {"tone": "spectrum-00000000"}}
    bad = pico_store.publish(files, **fields)
    with pytest.raises(StoreError, match="trained with encoder spectrum-00000000"):
        assemble(pico_store, bad)


def test_live_moves_to_a_known_checkpoint_only(pico_store: Store) -> None:
    second = pico.checkpoint(pico_store, 2).id
    pico_store.set_live(second)
    assert pico_store.live() == second
    with pytest.raises(StoreError, match="No checkpoint"):
        pico_store.set_live("0009-none")
    assert pico_store.live() == second


def test_a_lineage_goes_from_the_oldest_to_the_asked(pico_store: Store) -> None:
    first = pico_store.load(pico_store.ids()[0])
    files = {name: pico_store.folder(first.id) / name for name in first.files}
    fields = first.model_dump(exclude={"id", "files"}) | {"parent": first.id, "stage": 2}
    second = pico_store.publish(files, **fields)
    assert [one.id for one in pico_store.lineage(second.id)] == [first.id, second.id]


def test_a_full_disk_leaves_the_store_as_it_was(pico_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(str(path) for path in pico_store.checkpoints.rglob("*"))

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No disk space left"):
        pico.checkpoint(pico_store, 3)
    with pytest.raises(StoreError, match="No disk space left"):
        write(pico_store.root / "report.json", b"{}")
    monkeypatch.undo()
    assert sorted(str(path) for path in pico_store.checkpoints.rglob("*")) == before
    assert not (pico_store.root / "report.json").exists()
    assert not list(pico_store.root.glob(".report*"))
    assert pico.checkpoint(pico_store, 3).id in pico_store.ids(), "With room again, the same command works."
