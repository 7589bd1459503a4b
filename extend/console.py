"""What the commands of `extend` share: their common options, and how they speak to people and to programs."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.policy import POLICY_VARIABLE

StoreOption = Annotated[Path, typer.Option("--store", envvar="POLYMERA_STORE", help="The store's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
RecipeOption = Annotated[str, typer.Option(help="A shipped recipe (embedded, shipped, paper) or a .toml file.")]
DataOption = Annotated[Path | None, typer.Option(help="Your own folder: media files, train.jsonl, test.jsonl.")]
ServerOption = Annotated[str, typer.Option(help="The running server.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Test on this many items a dataset, drawn by seed.")]
PolicyOption = Annotated[
    Path | None, typer.Option(envvar=POLICY_VARIABLE, help="A gate.toml with thresholds of your own.")
]
RealignOption = Annotated[
    bool, typer.Option("--realign", help="Realign at the end, whatever the method: on a tenth, as in Table 5.")
]
NoiseOption = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Mispair this share of the replayed samples, as in Table 7.")
]
SweepOption = Annotated[
    str | None, typer.Option(help="Choose the merge's coefficient on replayed samples: one a 'stage', or by 'depth'.")
]
ConnectorsOption = Annotated[bool, typer.Option("--merge-connectors", help="Merge the new connector as the LLM.")]
WorstOption = Annotated[bool, typer.Option("--worst-first", help="Realign what has lost most, until nothing has.")]
HOME = Path("store")
LOCAL = "http://127.0.0.1:8000"
AFTERWARDS = 0.1  # what --realign replays: Table 5's share
GATED = 300  # items a dataset that decide on a swap where they can, else all do; `extend gate` takes them all


def say(line: str) -> None:
    """To a person: standard error, so that standard output stays one JSON object or empty."""
    print(line, file=sys.stderr, flush=True)


def given(values: Mapping[str, object]) -> dict[str, Any]:
    """Those options that the user gave."""
    return {name: value for name, value in values.items() if value is not None}


def finish(result: dict[str, Any], as_json: bool, failed: bool = False) -> None:
    """The outcome for programs, and the exit code."""
    if as_json:
        print(json.dumps(result))
    raise typer.Exit(1 if failed else 0)
