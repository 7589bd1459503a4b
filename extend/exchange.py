"""The commands of `extend` for what comes from elsewhere and goes there: plan, export, import."""

from pathlib import Path
from typing import Annotated

import typer

from extend.console import HOME, JsonOption, RecipeOption, StoreOption, finish, say
from extend.recipe import load
from modalities.checkpoint import Store


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
