"""The `extend` command: teach a modality, judge the outcome, put it to work. It computes nothing itself."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from eval import EvalError
from extend import RunError
from extend.recipe import RecipeError, load
from extend.remote import RemoteError, Server
from modalities.assets import AssetError
from modalities.base import BadMedia, UnknownModality, find
from modalities.checkpoint import Store, StoreError
from modalities.userdata import BadData, keep

WRONG_USE = (RunError, RecipeError, RemoteError, AssetError, BadMedia, UnknownModality, StoreError, BadData, EvalError)

app = typer.Typer(
    help="Teach a served model new modalities without forgetting the old ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StoreOption = Annotated[Path, typer.Option("--store", envvar="POLYMERA_STORE", help="The store's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
RecipeOption = Annotated[str, typer.Option(help="A shipped recipe (embedded, paper) or a .toml file.")]
DataOption = Annotated[Path | None, typer.Option(help="Your own folder: media files, train.jsonl, test.jsonl.")]
ServerOption = Annotated[str, typer.Option(help="The running server.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Test on this many items a dataset, drawn by seed.")]
PolicyOption = Annotated[Path | None, typer.Option(help="A gate.toml with thresholds of your own.")]
HOME = Path("store")
LOCAL = "http://127.0.0.1:8000"


@app.command("add-modality")
def add_modality(
    name: Annotated[str, typer.Argument(help="A folder of modalities/, or a third party's dotted module name.")],
    method: Annotated[str, typer.Option(help="How: mera, or another file of extend/methods.")] = "mera",
    replay: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Share of the old data replayed.")] = None,
    data: DataOption = None,
    deploy: Annotated[str | None, typer.Option(metavar="URL", help="Gate the outcome, and swap it in there.")] = None,
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
    chosen = load(recipe, **{key: value for key, value in changes.items() if value is not None})
    server = Server(deploy, home) if deploy else None
    if server:
        server.check()
    kept = keep(home, find(name), data) if data else None
    made = run.add(home, name, chosen, parent=run.parent_of(home, parent), method=method, data=kept)
    say(f"made {made.id}: knows {', '.join(made.modalities)}")
    result: dict[str, Any] = {"checkpoint": made.id, "modalities": list(made.modalities), "live": False}
    if server:
        verdict = judge(home, made.id, limit, policy)
        result |= {"verdict": verdict}
        if verdict["decision"] == "GO":
            result |= {"live": server.deploy(made.id).get("checkpoint") == made.id}
            say(f"live: {made.id}")
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
    from eval.run import evaluate
    from extend import run

    home = Store(store)
    chosen = load(recipe, **({} if seed is None else {"seed": seed}))
    kept = keep(home, find(name), data) if data else None
    made = run.add(home, name, chosen, parent=None, method="finetune", data=kept)
    report = evaluate(home, made.id, limit=limit)
    scores = report.scores[find(name).name]
    home.write_json(home.experts / find(name).name / "report.json", report.model_dump(mode="json"))
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
    server: ServerOption = LOCAL,
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Swap a checkpoint into the running server; requests in flight end as they began."""
    home = Store(store)
    home.load(id)
    answer = Server(server, home).deploy(id)
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
        rows.append({"id": id, "parent": made.parent, "modalities": list(made.modalities), "live": id == live})
        say(f"{'*' if id == live else ' '} {id:40} {', '.join(made.modalities)}")
    if not rows:
        say("The store holds no checkpoint yet; make one with: extend add-modality NAME")
    finish({"checkpoints": rows}, as_json)


@app.command("plan")
def plan_recipe(
    recipe: RecipeOption = "paper",
    stages: Annotated[
        str, typer.Option(help="A shipped plan, or a .toml file: what each stage has to learn.")
    ] = "paper",
    memory: Annotated[float, typer.Option(min=0.1, help="The GPU's memory in GB.")] = 48.0,
    tflops: Annotated[float, typer.Option(min=0.001, help="TFLOP/s that the GPU sustains.")] = 47.0,
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """What a recipe needs, before anything starts: peak memory, hours, disk. Exit code 1 if it cannot fit."""
    from extend.plan import plan

    costs = plan(store, load(recipe), stages, tflops=tflops)
    say(f"{'stage':12} {'peak GB':>8} {'weights':>8} {'trained':>8} {'activations':>12} {'hours':>6} {'disk GB':>8}")
    for one in costs:
        parts = f"{one.weights / 1e9:8.1f} {one.trained / 1e9:8.1f} {one.activations / 1e9:12.1f}"
        say(f"{one.name:12} {one.peak / 1e9:8.1f} {parts} {one.seconds / 3600:6.1f} {one.disk / 1e9:8.1f}")
    peak = max(one.peak for one in costs) / 1e9
    hours, disk = sum(one.seconds for one in costs) / 3600, sum(one.disk for one in costs) / 1e9
    say(f"in all: {hours:.0f} h, {disk:.0f} GB on disk for the encoders' features")
    if peak > memory:
        say(f"{peak:.1f} GB do not fit into {memory:.1f} GB; lower machine.micro, or set machine.checkpointing = true")
    rows = [{"stage": one.name, "peak_gb": one.peak / 1e9, "hours": one.seconds / 3600} for one in costs]
    finish({"stages": rows, "peak_gb": peak, "fits": peak <= memory}, as_json, failed=peak > memory)


@app.command("export")
def export_checkpoint(
    id: Annotated[str, typer.Argument(help="A checkpoint of the store. See: extend ls")],
    target: Annotated[Path, typer.Argument(help="A new folder.")],
    form: Annotated[str, typer.Option(help="merged: full weights; adapter: one PEFT LoRA.")] = "merged",
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Write a checkpoint's LLM for others: a folder that transformers and vLLM load, or a PEFT adapter."""
    from extend.export import export

    files = export(Store(store), id, target, form=form, precision=precision)
    say(f"exported {id}: {len(files)} files")
    finish({"checkpoint": id, "files": files}, as_json)


@app.command("import")
def import_checkpoint(
    source: Annotated[Path, typer.Argument(help="The folder of a LLaVA-1.5 checkpoint.")],
    name: Annotated[str, typer.Argument(metavar="MODALITY", help="What it sees with, as in add-modality.")],
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Take a LLaVA checkpoint as stage 1: its LLM becomes the backbone, its projector the connector."""
    from extend.adopt import adopt

    made = adopt(Store(store), source, name)
    say(f"made {made.id} on {made.base_llm}; build on it with a recipe whose base_llm is that")
    finish({"checkpoint": made.id, "base_llm": made.base_llm}, as_json)


def judge(store: Store, id: str, limit: int | None, policy: Path | None) -> dict[str, Any]:
    """Evaluate a checkpoint through the deployment that would serve it, and say what the gate thinks."""
    from eval.gate import DEFAULT, read_policy
    from eval.run import evaluate

    report = evaluate(store, id, limit=limit, policy=read_policy(policy or DEFAULT))
    assert report.verdict is not None, "An evaluation ends with a verdict."
    say(f"{report.verdict.decision}: {id}")
    for reason in report.verdict.reasons:
        say(f"  {reason}")
    return report.verdict.model_dump(mode="json")


def say(line: str) -> None:
    """To a person: standard error, so that standard output stays one JSON object or empty."""
    print(line, file=sys.stderr, flush=True)


def finish(result: dict[str, Any], as_json: bool, failed: bool = False) -> None:
    """The outcome for programs, and the exit code."""
    if as_json:
        print(json.dumps(result))
    raise typer.Exit(1 if failed else 0)


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
