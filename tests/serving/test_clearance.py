"""What may go live: only what the gate has said GO of, for these bytes and this policy; else a reason is kept."""

import json
from typing import Any

import pytest

from modalities.checkpoint import Store, StoreError, hash_file
from serving import clearance, golden
from serving.clearance import NotCleared
from serving.policy import Policy
from tests import pico
from tests.serving.running import serve, text


def judged(store: Store, id: str, policy: Policy | None = None, **changes: Any) -> None:
    """Leave a verdict beside a checkpoint, as the gate does."""
    golden.save(store, id, ())
    verdict = {
        "decision": "GO",
        "checkpoint": id,
        "golden": hash_file(store.folder(id) / golden.FILE),
        "policy": (policy or Policy()).model_dump(),
        "reasons": ["The dataset k is low."],
        "checks": [],
    }
    report = {"verdict": verdict | changes, "scores": {}}
    (store.folder(id) / "report.json").write_text(json.dumps(report))


def refused(store: Store, checkpoint: str, policy: Policy | None = None) -> str:
    with pytest.raises(NotCleared) as error:
        clearance.require(store, checkpoint, policy or Policy())
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_go_for_these_bytes_and_this_policy_is_enough(pico_store: Store) -> None:
    id = pico_store.ids()[0]
    judged(pico_store, id)
    clearance.require(pico_store, id, Policy())


def test_everything_else_is_refused_with_the_cure(pico_store: Store) -> None:
    id = pico_store.ids()[0]
    assert refused(pico_store, id) == f"{id} has no verdict of the gate; run: extend gate {id}"
    judged(pico_store, id, decision="NO-GO")
    assert refused(pico_store, id) == f"{id}: the gate said NO-GO. The dataset k is low."
    judged(pico_store, id, decision="INCONCLUSIVE", reasons=[])
    assert "the gate said INCONCLUSIVE. It gave no reason." in refused(pico_store, id)
    judged(pico_store, id, checkpoint="0009-other")
    assert "not given for these bytes" in refused(pico_store, id)
    judged(pico_store, id, policy=Policy(text=0.5))
    assert "judged by another policy (text = 0.5, here 0.98)" in refused(pico_store, id)
    clearance.require(pico_store, id, Policy(text=0.5))
    (pico_store.folder(id) / "report.json").write_text('{"verdict": {"decision": "MAYBE"}}')
    assert "has no verdict" in refused(pico_store, id)


def test_other_golden_prompts_than_the_judged_ones_are_refused(pico_store: Store) -> None:
    id = pico_store.ids()[0]
    judged(pico_store, id)
    golden.save(pico_store, id, (golden.Golden(prompt="Hello", tokens=(1,)),))
    assert "not given for these bytes" in refused(pico_store, id)
    (pico_store.folder(id) / golden.FILE).unlink()
    assert "not given for these bytes" in refused(pico_store, id)


def test_reasons_are_kept_one_after_the_other(pico_store: Store) -> None:
    id = pico_store.ids()[0]
    assert clearance.overrides(pico_store, id) == ()
    for reason in ("a demonstration", "another"):
        clearance.override(pico_store, id, reason, "it has no verdict")
    kept = clearance.overrides(pico_store, id)
    assert [one.reason for one in kept] == ["a demonstration", "another"]
    assert kept[0].time.endswith("+00:00")
    assert pico_store.load(id).id == id, "What is written beside a checkpoint is no part of it."
    (pico_store.folder(id) / clearance.OVERRIDES).write_text("[{]")
    with pytest.raises(StoreError, match=r"overrides\.json is damaged"):
        clearance.overrides(pico_store, id)


def test_the_server_asks_for_a_go_or_a_reason(pico_store: Store) -> None:
    first, second = str(pico_store.live()), pico.checkpoint(pico_store, 2).id
    with serve(pico_store, first) as server:
        no = server.deploy(second, override=None)
        assert (no.status_code, no.json()["error"]["type"]) == (403, "not_cleared")
        assert f"{second} has no verdict of the gate" in no.json()["error"]["message"]
        assert server.deploy(second, override="  ").status_code == 422
        assert server.ask(text(), max_tokens=1).json()["checkpoint"] == first
        assert server.deploy(first, override=None).status_code == 200, "What is live may be started anew."

        judged(pico_store, second)
        assert server.deploy(second, override=None).status_code == 200
        assert clearance.overrides(pico_store, second) == ()
        back = server.http.post("/admin/rollback", headers=server.admin)
        assert back.json()["checkpoint"] == first, "A way back needs no verdict."

        judged(pico_store, second, decision="NO-GO")
        assert server.deploy(second, override="the customer insists").status_code == 200
        listed = server.http.get("/admin/checkpoints", headers=server.admin).json()["checkpoints"]
        assert [(one["verdict"], one["overrides"]) for one in listed] == [
            (None, []),
            ("NO-GO", ["the customer insists"]),
        ]
        assert "the gate said NO-GO" in clearance.overrides(pico_store, second)[0].instead_of


def test_a_reason_is_not_kept_for_what_does_not_go_live(pico_store: Store) -> None:
    first, second = str(pico_store.live()), pico.checkpoint(pico_store, 2).id
    (pico_store.folder(second) / "connectors" / "tone.safetensors").write_bytes(b"")
    with serve(pico_store, first) as server:
        assert server.deploy(second, override="a try").status_code == 422
    assert clearance.overrides(pico_store, second) == ()


def test_a_server_has_a_policy_of_its_own(pico_store: Store) -> None:
    first, second, lenient = str(pico_store.live()), pico.checkpoint(pico_store, 2).id, Policy(text=0.0)
    judged(pico_store, second, policy=lenient)
    with serve(pico_store, first) as server:
        assert "another policy (text = 0.0, here 0.98)" in server.deploy(second, override=None).text
    with serve(pico_store, first, policy=lenient) as server:
        assert server.deploy(second, override=None).status_code == 200
