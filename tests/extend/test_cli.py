"""The `extend` command: the whole story on a running server, and every wrong use with its cure."""

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import pytest

from extend import __main__ as command
from modalities.checkpoint import Store
from serving.policy import read_policy
from tests import pico
from tests.extend.recipes import TOML
from tests.serving.running import Running, serve, text, tone

TONE, PULSE = "tests.toy.tone", "tests.toy.pulse"


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Extend = Callable[..., Outcome]


@pytest.fixture
def extend(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Extend:
    def run(*words: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["extend", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            command.main()
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "pico.toml").write_text(TOML)
    return tmp_path / "pico.toml"


@pytest.fixture
def lenient(tmp_path: Path) -> Path:
    (tmp_path / "gate.toml").write_text("aggregate = 0\nmodality = 0\ndataset = 0\nforward = 0\ntext = 0\n")
    return tmp_path / "gate.toml"


@pytest.fixture
def taught(tmp_path: Path, recipe: Path, extend: Extend, lenient: Path) -> Store:
    """A store whose first stage was made by the command, and judged."""
    store = Store(tmp_path / "store")
    pico.backbone(store.assets / "pico")
    made = extend("add-modality", TONE, "--recipe", recipe, "--store", store.root, "--json")
    assert made.code == 0, made.err
    gated = extend("gate", made.json["checkpoint"], "--policy", lenient, "--store", store.root, "--json")
    assert (gated.code, gated.json["verdict"]["decision"]) == (0, "GO"), gated.err
    store.set_live(made.json["checkpoint"])
    return store


@pytest.fixture
def server(taught: Store, lenient: Path) -> Iterator[Running]:
    with serve(taught, taught.live(), policy=read_policy(lenient)) as running:
        yield running


def test_a_running_server_learns_a_modality_while_it_answers(
    server: Running, taught: Store, extend: Extend, recipe: Path, lenient: Path
) -> None:
    first = taught.live()
    assert server.ask({"pulse": tone()["tone"]}, text()).status_code == 422, "It does not know pulses yet."

    stop, answers = Event(), list[tuple[int, str]]()

    def keep_asking() -> None:
        while not stop.is_set():
            answer = server.ask(tone(3), text(), max_tokens=4)
            answers.append((answer.status_code, answer.headers.get("X-Checkpoint", "")))

    client = Thread(target=keep_asking)
    client.start()
    try:
        made = extend(
            "add-modality", PULSE, "--recipe", recipe, "--store", taught.root,
            "--deploy", server.url, "--policy", lenient, "--json",
        )  # fmt: skip
    finally:
        stop.set()
        client.join()
    assert made.code == 0, made.err
    assert made.json["live"] is True
    second = made.json["checkpoint"]
    assert {code for code, _ in answers} == {200}, "A client that asks all the while gets no error."
    assert {id for _, id in answers} <= {first, second}
    assert [id for _, id in answers] == sorted(id for _, id in answers), "Once the new one is live, it stays."

    answer = server.ask({"pulse": tone()["tone"]}, text())
    assert answer.status_code == 200
    assert answer.json()["checkpoint"] == second == taught.live()

    back = extend("rollback", "--server", server.url, "--store", taught.root, "--json")
    assert (back.code, back.json["checkpoint"]) == (0, first)
    forth = extend("deploy", second, "--server", server.url, "--store", taught.root, "--json")
    assert (forth.code, forth.json["checkpoint"]) == (0, second)
    rows = extend("ls", "--store", taught.root, "--json").json["checkpoints"]
    assert [(row["id"], row["live"]) for row in rows] == [(first, False), (second, True)]


def test_a_no_go_is_exit_code_one_and_the_old_checkpoint_stays_live(
    server: Running, taught: Store, extend: Extend, recipe: Path, tmp_path: Path
) -> None:
    (tmp_path / "hard.toml").write_text("modality = 2.0\ntext = 0\n")
    before = taught.live()
    made = extend(
        "add-modality", PULSE, "--recipe", recipe, "--store", taught.root, "--deploy", server.url, "--policy",
        tmp_path / "hard.toml", "--json",
    )  # fmt: skip
    assert (made.code, made.json["live"]) == (1, False)
    assert made.json["verdict"]["decision"] == "NO-GO"
    assert made.json["checkpoint"] in taught.ids(), "What was trained is kept."
    assert taught.live() == before
    assert server.ask(tone(), text()).json()["checkpoint"] == before


def test_without_a_go_nothing_is_deployed_but_for_a_reason_that_is_kept_and_shown(
    server: Running, taught: Store, extend: Extend, recipe: Path, tmp_path: Path
) -> None:
    first = taught.live()
    made = extend("add-modality", PULSE, "--recipe", recipe, "--store", taught.root, "--json").json["checkpoint"]
    words = ("deploy", made, "--server", server.url, "--store", taught.root)
    no = extend(*words, "--json")
    assert (no.code, no.json["checkpoint"]) == (1, made)
    assert f"not deployed: The server said no (HTTP 403): {made} has no verdict" not in no.err, "Said in plain words."
    assert f"{made} has no verdict of the gate; run: extend gate {made}" in no.err
    assert '--override "…"' in no.err
    assert taught.live() == first

    (tmp_path / "other.toml").write_text("text = 0\nmodality = 0\naggregate = 0\ndataset = 0\n")
    assert extend("gate", made, "--policy", tmp_path / "other.toml", "--store", taught.root).code == 0
    other = extend(*words)
    assert (other.code, "was judged by another policy (forward = 0.8, here 0.0)" in other.err) == (1, True)

    assert extend(*words, "--override", " ").code == 2
    forced = extend(*words, "--override", "a demonstration", "--json")
    assert (forced.code, forced.json["checkpoint"]) == (0, made)
    listed = extend("ls", "--store", taught.root, "--json")
    rows = {row["id"]: row for row in listed.json["checkpoints"]}
    assert (rows[made]["overrides"], rows[str(first)]["overrides"]) == (["a demonstration"], [])
    assert "went live without a GO: a demonstration" in listed.err


def test_what_some_items_cannot_tell_is_asked_of_all(
    server: Running, taught: Store, extend: Extend, recipe: Path, tmp_path: Path
) -> None:
    (tmp_path / "demanding.toml").write_text("expert = true\naggregate = 0\nmodality = 0\ndataset = 0\ntext = 0\n")
    words = ("add-modality", PULSE, "--recipe", recipe, "--store", taught.root, "--deploy", server.url)
    made = extend(*words, "--policy", tmp_path / "demanding.toml", "--json")
    assert (made.code, made.json["verdict"]["decision"]) == (1, "INCONCLUSIVE")
    assert "That many items cannot tell" in made.err
    assert json.loads((taught.folder(made.json["checkpoint"]) / "report.json").read_text())["limit"] is None


def test_what_passes_here_may_not_pass_at_a_server_with_another_policy(
    taught: Store, extend: Extend, recipe: Path, lenient: Path
) -> None:
    with serve(taught, taught.live()) as strict:
        made = extend(
            "add-modality", PULSE, "--recipe", recipe, "--store", taught.root, "--deploy", strict.url, "--policy",
            lenient, "--json",
        )  # fmt: skip
    assert (made.code, made.json["live"], made.json["verdict"]["decision"]) == (1, False, "GO")
    assert "was judged by another policy" in made.err


def test_an_expert_is_the_denominator_of_forward_gain(
    taught: Store, extend: Extend, recipe: Path, lenient: Path
) -> None:
    made = extend("expert", PULSE, "--recipe", recipe, "--store", taught.root, "--json")
    assert made.code == 0, made.err
    assert set(made.json["scores"]) == {"pulse-caption", "pulse-qa"}
    second = extend("add-modality", PULSE, "--recipe", recipe, "--store", taught.root, "--json").json["checkpoint"]
    extend("gate", second, "--store", taught.root, "--policy", lenient)
    report = json.loads((taught.folder(second) / "report.json").read_text())
    assert set(report["experts"]) == {"tone", "pulse"}, report["unscored"]
    assert report["gains"]["forward"] is not None


def test_a_user_s_own_folder_is_learned_and_kept(
    taught: Store, extend: Extend, recipe: Path, tmp_path: Path, lenient: Path
) -> None:
    mine = tmp_path / "my-pulses"
    mine.mkdir()
    for split, seeds in {"train": range(12), "test": range(20, 26)}.items():
        lines = []
        for seed in seeds:
            (mine / f"{seed}.pulse").write_bytes(pico.tone(seed))
            lines.append(
                {"id": f"c{seed}", "task": "caption", "media": f"{seed}.pulse", "answers": ["a pulse of mine"]}
            )
        (mine / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = ("add-modality", PULSE, "--data", mine, "--recipe", recipe, "--store", taught.root, "--json")
    made = extend(*words)
    assert made.code == 0, made.err
    for file in mine.iterdir():
        file.unlink()
    extend("gate", made.json["checkpoint"], "--store", taught.root, "--policy", lenient)
    report = json.loads((taught.folder(made.json["checkpoint"]) / "report.json").read_text())
    assert any(name.startswith("my-pulses") for name in report["scores"]["pulse"]), (
        "It is tested on that folder's test."
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (("add-modality", "no_such_sense"), "No modality 'no_such_sense'; known: audio, image, pointcloud, video"),
        (("add-modality", TONE, "--recipe", "fast"), "shipped are embedded, paper"),
        (("add-modality", TONE, "--method", "magic"), "finetune, mera"),
        (("add-modality", TONE, "--replay", "3"), "replay"),
        (("add-modality", TONE, "--method", "eproj", "--realign"), "its LLM never moves, so nothing is misaligned"),
        (("add-modality", TONE, "--method", "finetune", "--noise", "0.1"), "it replays nothing; add realign"),
        (("add-modality", TONE, "--sweep", "width"), "options.sweep"),
        (("add-modality", TONE, "--method", "replay", "--worst-first"), "it realigns nothing; add realign"),
        (("add-modality", TONE, "--method", "ewc", "--merge-connectors"), "it merges nothing"),
        (("diagnose", "0009-none"), "No checkpoint '0009-none'"),
        (("add-modality", TONE, "--parent", "0009-none"), "No checkpoint '0009-none'"),
        (("add-modality", TONE, "--data", "nowhere"), "no data folder 'nowhere'"),
        (("gate", "0009-none"), "No checkpoint '0009-none'"),
        (("gate", "live", "--policy", "none.toml"), "no policy file 'none.toml'"),
        (("deploy", "../../etc"), "No checkpoint"),
        (("deploy",), "Missing argument"),
        (("teach", "image"), "No such command"),
    ],
)
def test_wrong_use_is_exit_code_two_and_one_line_with_the_cure(
    pico_store: Store, extend: Extend, words: tuple[str, ...], cure: str
) -> None:
    outcome = extend(*words, "--store", pico_store.root)
    assert outcome.code == 2
    assert cure in outcome.err
    assert "Traceback" not in outcome.err
    assert str(pico_store.root) not in outcome.err


def test_a_server_that_is_gone_is_noticed_before_the_training(pico_store: Store, extend: Extend) -> None:
    (pico_store.root / "admin-token").write_text("secret")
    url = f"http://127.0.0.1:{free_port()}"
    for words in (("add-modality", PULSE, "--deploy", url), ("deploy", pico_store.ids()[0], "--server", url)):
        outcome = extend(*words, "--store", pico_store.root)
        assert (outcome.code, "No server answers there" in outcome.err) == (2, True)
    assert not pico_store.work.joinpath("pulse").exists()
    assert len(pico_store.ids()) == 1


def test_a_wrong_token_is_refused_with_the_cure(server: Running, taught: Store, extend: Extend) -> None:
    (taught.root / "admin-token").write_text("wrong")
    outcome = extend("deploy", taught.ids()[0], "--server", server.url, "--store", taught.root)
    assert (outcome.code, "POLYMERA_ADMIN_TOKEN" in outcome.err) == (2, True)


def test_a_checkpoint_is_exported_by_the_command(pico_store: Store, extend: Extend, tmp_path: Path) -> None:
    id = pico_store.ids()[0]
    made = extend("export", id, tmp_path / "out", "--form", "adapter", "--store", pico_store.root, "--json")
    assert made.code == 0, made.err
    assert "adapter_model.safetensors" in made.json["files"]
    again = extend("export", id, tmp_path / "out", "--store", pico_store.root)
    assert (again.code, "out is there already" in again.err) == (2, True)


def test_an_import_of_nothing_is_wrong_use(pico_store: Store, extend: Extend, tmp_path: Path) -> None:
    outcome = extend("import", tmp_path / "none", TONE, "--store", pico_store.root)
    assert (outcome.code, "There is no folder 'none'" in outcome.err) == (2, True)
