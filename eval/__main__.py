"""`python -m eval`: measure a checkpoint, show its report, compute the paper's figures, probe the features."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval import EvalError

if TYPE_CHECKING:
    from modalities.checkpoint import Store

app = typer.Typer(
    help="Measure a checkpoint, and say whether it may serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StoreOption = Annotated[Path, typer.Option("--store", envvar="POLYMERA_STORE", help="The store's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
HOME = Path("store")


@app.command()
def run(
    checkpoint: Annotated[str, typer.Argument(metavar="ID|live", help="A checkpoint of the store. See: extend ls")],
    limit: Annotated[int | None, typer.Option(min=1, help="Items per dataset at most, drawn by seed.")] = None,
    blind: Annotated[bool, typer.Option(help="Ask everything a second time without the media.")] = True,
    probe: Annotated[bool, typer.Option("--probe", help="Report a linear probe of each topic too.")] = False,
    policy: Annotated[Path | None, typer.Option(help="Thresholds of your own, as in eval/gate.toml.")] = None,
    engine: Annotated[str, typer.Option(help="The engine that answers.")] = "transformers",
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Measure a checkpoint through the deployment that would serve it; writes report.json and report.md beside it."""
    from eval import page
    from eval.gate import DEFAULT, read_policy
    from eval.run import evaluate
    from modalities.checkpoint import Store

    home, rules = Store(store), read_policy(policy or DEFAULT)
    report = evaluate(
        home, _resolve(home, checkpoint), limit=limit, blind=blind, engine=engine, policy=rules, probes=probe
    )
    _print(report.model_dump(mode="json") if as_json else page.render(report))


@app.command()
def show(
    checkpoint: Annotated[str, typer.Argument(metavar="[ID|live]", help="A measured checkpoint.")] = "live",
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Show a checkpoint's report."""
    from eval import page
    from eval.report import read
    from modalities.checkpoint import Store

    home = Store(store)
    report = read(home, _resolve(home, checkpoint))
    _print(report.model_dump(mode="json") if as_json else page.render(report))


@app.command()
def gain(
    file: Annotated[Path, typer.Argument(help="Raw scores by order, method and stage, as paper_tables.json.")],
    as_json: JsonOption = False,
) -> None:
    """The Backward Relative Gain of every stage, and the modality that fares worst, in per cent."""
    from eval.gain import read_tables, table, text

    rows = table(read_tables(file))
    _print(rows if as_json else text(rows))


@app.command()
def probe(
    modality: Annotated[str, typer.Argument(help="A folder of modalities/, or a dotted module name.")],
    topic: Annotated[str, typer.Argument(help="The kind of question.")],
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """What a linear classifier reads from the frozen features: a ceiling for this kind of question."""
    from eval.probe import probe as measure
    from modalities.base import find
    from modalities.checkpoint import Store

    home, found = Store(store), find(modality)
    made = measure(home, found, list(found.datasets(home.root)), topic)
    line = f"{made.modality}, {made.topic}: {made.accuracy:.3f} of {made.n} (always the commonest: {made.majority:.3f})"
    _print(made.model_dump(mode="json") if as_json else line)


def _resolve(store: "Store", checkpoint: str) -> str:
    """`live` is the checkpoint that store/live points to."""
    if checkpoint != "live":
        return checkpoint
    live = store.live()
    if live is None:
        raise EvalError(f"No checkpoint is live; name one: {', '.join(store.ids()) or 'there is none yet'}")
    return live


def _print(what: str | dict[str, Any]) -> None:
    print(what if isinstance(what, str) else json.dumps(what, ensure_ascii=False))


def main() -> None:
    """Run the command; a wrong use is one line that names the cure, and exit code 2."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        app(prog_name="python -m eval")
    except Exception as error:
        if not isinstance(error, _wrong_use()):
            raise
        print(f"eval: {error}", file=sys.stderr)
        sys.exit(2)


def _wrong_use() -> tuple[type[Exception], ...]:
    """What a user can cure. Imported only when something went wrong, so that --help is quick."""
    from modalities.assets import AssetError
    from modalities.base import BadMedia, UnknownModality
    from modalities.checkpoint import StoreError
    from modalities.userdata import BadData

    return EvalError, StoreError, AssetError, UnknownModality, BadMedia, BadData


if __name__ == "__main__":
    main()
