"""The `extend` command: teach a modality, judge the outcome, put it to work. It computes nothing itself."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from eval import EvalError
from extend import RunError, exchange
from extend.console import (
    AFTERWARDS,
    GATED,
    HOME,
    LOCAL,
    ConnectorsOption,
    DataOption,
    JsonOption,
    LimitOption,
    NoiseOption,
    PolicyOption,
    RealignOption,
    RecipeOption,
    ServerOption,
    StoreOption,
    SweepOption,
    WorstOption,
    finish,
    given,
    say,
)
from extend.recipe import RecipeError, load
from extend.remote import Refused, RemoteError, Server
from extend.study import command
from modalities.assets import AssetError
from modalities.base import BadMedia, UnknownModality, find
from modalities.checkpoint import Store, StoreError
from modalities.userdata import BadData, keep
from serving import clearance
from serving.policy import PolicyError

WRONG_USE = (
    RunError,
    RecipeError,
    RemoteError,
    AssetError,
    BadMedia,
    UnknownModality,
    StoreError,
    BadData,
    EvalError,
    PolicyError,
)

app = typer.Typer(
    help="Teach a served model new modalities without forgetting the old ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("add-modality")
def add_modality(
    name: Annotated[str, typer.Argument(help="A folder of modalities/, or a third party's dotted module name.")],
    method: Annotated[str, typer.Option(help="How: mera, or another file of extend/methods.")] = "mera",
    replay: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Share of the old data replayed.")] = None,
    realign: RealignOption = False,
    noise: NoiseOption = None,
    sweep: SweepOption = None,
    merge_connectors: ConnectorsOption = False,
    worst_first: WorstOption = False,
    data: DataOption = None,
    deploy: Annotated[
        str | None, typer.Option(metavar="URL", help=f"Gate on {GATED} items a dataset, or --limit; swap it in there.")
    ] = None,
    parent: Annotated[str | None, typer.Option(help="Build on this checkpoint; 'none': the backbone alone.")] = None,
    recipe: RecipeOption = "embedded",
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    limit: LimitOption = None,
    policy: PolicyOption = None,
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Learn a modality: align, tune, fold, realign; with --deploy, gate it and swap it into the running server."""
    from extend import run

    home = Store(store)
    changes = {"replay": replay, "seed": seed}
    options = {"realign": AFTERWARDS if realign else None, "noise": noise, "sweep": sweep}
    options |= {"connectors": merge_connectors or None, "worst": worst_first or None}
    chosen = load(recipe, given(options), **given(changes))
    server = Server(deploy, home) if deploy else None
    if server:
        server.check()
    kept = keep(home, find(name), data) if data else None
    made = run.add(home, name, chosen, parent=run.parent_of(home, parent), method=method, data=kept)
    leave_to_the_first()
    say(f"made {made.id}: knows {', '.join(made.modalities)}")
    result: dict[str, Any] = {"checkpoint": made.id, "modalities": list(made.modalities), "live": False}
    if server:
        verdict = judge(home, made.id, limit or GATED, policy)
        if verdict["decision"] == "INCONCLUSIVE" and limit is None:
            say("That many items cannot tell; on all of them:")
            verdict = judge(home, made.id, None, policy)
        result |= {"verdict": verdict}
        if verdict["decision"] == "GO":
            result |= {"live": _deployed(server, made.id)}
    else:
        say(f"next: extend gate {made.id}, then extend deploy {made.id}")
    finish(result, as_json, failed=bool(server) and not result["live"])


@app.command()
def expert(
    name: Annotated[str, typer.Argument(help="The modality.")],
    data: DataOption = None,
    recipe: RecipeOption = "embedded",
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    limit: LimitOption = None,
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Train an expert on one modality alone and keep its scores: the denominators of Relative Gain."""
    from eval.experts import keep as keep_expert
    from eval.run import evaluate
    from extend import run

    home = Store(store)
    chosen = load(recipe, **given({"seed": seed}))
    kept = keep(home, find(name), data) if data else None
    made = run.add(home, name, chosen, parent=None, method="finetune", data=kept)
    leave_to_the_first()
    report = evaluate(home, made.id, limit=limit)
    scores = report.scores[find(name).name]
    keep_expert(home, find(name).name, report)
    for dataset, score in scores.items():
        say(f"{dataset}: {score:.3f}")
    finish({"checkpoint": made.id, "modality": find(name).name, "scores": scores}, as_json)


@app.command()
def gate(
    id: Annotated[str, typer.Argument(help="A checkpoint of the store. See: extend ls")],
    limit: LimitOption = None,
    policy: PolicyOption = None,
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Score a checkpoint on every modality that it knows, and say GO, NO-GO or INCONCLUSIVE (exit code 1)."""
    verdict = judge(Store(store), id, limit, policy)
    finish({"checkpoint": id, "verdict": verdict}, as_json, failed=verdict["decision"] != "GO")


@app.command()
def deploy(
    id: Annotated[str, typer.Argument(help="A checkpoint of the store. See: extend ls")],
    override: Annotated[
        str | None, typer.Option(metavar="REASON", help="Deploy without a GO; the reason is kept and shown.")
    ] = None,
    server: ServerOption = LOCAL,
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Swap a checkpoint that the gate has said GO of into the running server; requests in flight end as they began."""
    home = Store(store)
    home.load(id)
    if override is not None and not override.strip():
        raise RunError('--override wants the reason; write for example --override "a demonstration"')
    try:
        answer = Server(server, home).deploy(id, override)
    except Refused as no:
        say(f"not deployed: {no}")
        finish({"checkpoint": id, "refused": str(no)}, as_json, failed=True)
    say(f"live: {answer.get('checkpoint')}")
    finish(answer, as_json)


@app.command()
def rollback(server: ServerOption = LOCAL, store: StoreOption = HOME, as_json: JsonOption = False) -> None:
    """Swap the checkpoint that was live before back into the running server."""
    answer = Server(server, Store(store)).rollback()
    say(f"live: {answer.get('checkpoint')}")
    finish(answer, as_json)


@app.command("ls")
def list_checkpoints(store: StoreOption = HOME, as_json: JsonOption = False) -> None:
    """The store's checkpoints, oldest stage first; the live one is marked."""
    home = Store(store)
    live = home.live()
    rows = []
    for id in home.ids():
        made = home.manifest(id)
        row = {"id": id, "parent": made.parent, "modalities": list(made.modalities), "live": id == live}
        said, reasons = clearance.verdict(home, id), [one.reason for one in clearance.overrides(home, id)]
        rows.append(row | {"verdict": said and said.decision, "overrides": reasons})
        word = said.decision if said else "not gated"
        say(f"{'*' if id == live else ' '} {id:40} {', '.join(made.modalities):24} {word}")
        for reason in reasons:
            say(f"    went live without a GO: {reason}")
    if not rows:
        say("The store holds no checkpoint yet; make one with: extend add-modality NAME")
    finish({"checkpoints": rows}, as_json)


app.command("study")(command.study)
app.command("diagnose")(command.diagnose_checkpoint)
app.command("plan")(exchange.plan_recipe)
app.command("export")(exchange.export_checkpoint)
app.command("import")(exchange.import_checkpoint)


def leave_to_the_first() -> None:
    """Of several processes that trained together one goes on to judge and to speak."""
    from extend.processes import first

    if not first():
        raise typer.Exit


def judge(store: Store, id: str, limit: int | None, policy: Path | None) -> dict[str, Any]:
    """Evaluate a checkpoint through the deployment that would serve it, and say what the gate thinks."""
    from eval.run import evaluate
    from serving.policy import DEFAULT, read_policy

    report = evaluate(store, id, limit=limit, policy=read_policy(policy or DEFAULT))
    assert report.verdict is not None, "An evaluation ends with a verdict."
    say(f"{report.verdict.decision}: {id}")
    for reason in report.verdict.reasons:
        say(f"  {reason}")
    return report.verdict.model_dump(mode="json")


def _deployed(server: Server, id: str) -> bool:
    """Swap in what the gate has just said GO of; the server may judge by another policy."""
    try:
        live = server.deploy(id).get("checkpoint") == id
    except Refused as no:
        say(f"not deployed: {no}")
        return False
    say(f"live: {id}")
    return live


def main() -> None:
    """Run the command; a wrong use is one line that names the cure, and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        app()
    except WRONG_USE as error:
        say(f"extend: {error}")
        sys.exit(2)


if __name__ == "__main__":
    main()
