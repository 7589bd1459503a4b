"""`python -m eval`: measure a checkpoint, show its report, compute the paper's figures, probe the features."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval import EvalError
from serving.policy import POLICY_VARIABLE

if TYPE_CHECKING:
    from eval.judge import Judge
    from modalities.checkpoint import Store

app = typer.Typer(
    help="Measure a checkpoint, and say whether it may serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StoreOption = Annotated[Path, typer.Option("--store", envvar="POLYMERA_STORE", help="The store's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
PolicyOption = Annotated[
    Path | None, typer.Option(envvar=POLICY_VARIABLE, help="Thresholds of your own, as in serving/gate.toml.")
]
HOME = Path("store")


@app.command()
def run(
    checkpoint: Annotated[str, typer.Argument(metavar="ID|live", help="A checkpoint of the store. See: extend ls")],
    limit: Annotated[int | None, typer.Option(min=1, help="Items per dataset at most, drawn by seed.")] = None,
    blind: Annotated[bool, typer.Option(help="Ask everything a second time without the media.")] = True,
    probe: Annotated[bool, typer.Option("--probe", help="Report a linear probe of each topic too.")] = False,
    policy: PolicyOption = None,
    judge: Annotated[Path | None, typer.Option(help="A language model as judge: its TOML file (docs/gate.md).")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Take the judge's replies from the cache only.")] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="Add BLEU-4, ROUGE-L and METEOR of captions.")] = False,
    engine: Annotated[str, typer.Option(help="The engine that answers.")] = "transformers",
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Measure a checkpoint through the deployment that would serve it; its reports come to lie beside it."""
    from eval import page
    from eval.run import evaluate
    from modalities.checkpoint import Store
    from serving.policy import DEFAULT, read_policy

    home, rules = Store(store), read_policy(policy or DEFAULT)
    report = evaluate(
        home,
        _resolve(home, checkpoint),
        limit=limit,
        blind=blind,
        engine=engine,
        policy=rules,
        judge=_judge(home, judge, replay),
        probes=probe,
        metrics=metrics,
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
def compare(
    before: Annotated[str, typer.Argument(metavar="A", help="A measured checkpoint.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """What B says better and worse than A, item by item, with bounds."""
    from eval.compare import compare as measure
    from eval.compare import text
    from modalities.checkpoint import Store

    home = Store(store)
    made = measure(home, _resolve(home, before), _resolve(home, after))
    _print(made.model_dump(mode="json") if as_json else text(made))


@app.command()
def mcub(
    file: Annotated[Path, typer.Argument(help="A JSONL file of multiple-choice items (docs/gate.md), or a benchmark.")],
    checkpoint: Annotated[str, typer.Option(metavar="ID|live", help="A checkpoint of the store.")] = "live",
    media: Annotated[Path | None, typer.Option(help="Where the media files lie; default: beside the file.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Items at most, drawn by seed.")] = None,
    single: Annotated[bool, typer.Option("--single", help="Show one medium of each item only: the ablation.")] = False,
    engine: Annotated[str, typer.Option(help="The engine that answers.")] = "transformers",
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Multiple choice over several media at once, as in MCUB-4 and senses-4."""
    from eval.mcub import measure, text
    from modalities import benchmark
    from modalities.checkpoint import Store

    home = Store(store)
    if str(file) in benchmark.names():
        named = benchmark.read(str(file))
        file, media = benchmark.choice_file(home.root, named), media or home.data
        if benchmark.choices_differ(home.root, named):
            print(f"eval: not what others measure on; look: python -m eval data {named.name}", file=sys.stderr)
    id = _resolve(home, checkpoint)
    made = measure(home, id, file, media or file.parent, limit=limit, engine=engine, single=single)
    _print(made.model_dump(mode="json") if as_json else text(made))


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="A benchmark, a folder of modalities/, or a dotted module.")] = "senses-4",
    samples: Annotated[int, typer.Option(min=0, help="Samples of each dataset to show.")] = 3,
    seed: Annotated[int, typer.Option(help="Draws them.")] = 0,
    pin: Annotated[
        bool, typer.Option("--pin", help="Write the hashes into the tree: a new version's first build.")
    ] = False,
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Build a benchmark, check its hashes, and show what it holds; exit code 1 if it is not what others measure on."""
    from eval.data import contents, problem, text

    made = contents(store, name, samples, seed, pin)
    _print(made.model_dump(mode="json") if as_json else text(made))
    if made.differs:
        print(f"eval: {problem(made)}", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def plain(
    backbone: Annotated[str, typer.Option(help="The backbone's name.")] = "smollm2-135m-instruct",
    system: Annotated[str | None, typer.Option(help="The system message; default: the chat template's own.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; default: the one that ships.")] = None,
    store: StoreOption = HOME,
) -> None:
    """Ask a backbone the plain prompts anew: the reference of text-only ability."""
    from eval.plain import DATA, file_name, make, save
    from modalities.checkpoint import Store

    save(out or DATA / file_name(backbone, system), make(Store(store), backbone, system))


@app.command()
def gain(
    file: Annotated[Path, typer.Argument(help="Raw scores by order, method and stage, as paper_tables.json.")],
    gate: Annotated[bool, typer.Option("--gate", help="Say what the gate would make of the last stage.")] = False,
    policy: Annotated[Path | None, typer.Option(help="With --gate: thresholds of your own.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The Backward Relative Gain of every stage, and the modality that fares worst, in per cent."""
    from eval.gain import read_tables, table, text
    from eval.tables import verdicts
    from serving.policy import DEFAULT, read_policy

    tables = read_tables(file)
    rows = table(tables)
    if gate:
        for order, methods in verdicts(tables, read_policy(policy or DEFAULT)).items():
            for method, verdict in methods.items():
                rows[order][method] |= {"decision": verdict.decision, "reasons": list(verdict.reasons)}
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


def _judge(store: "Store", settings: Path | None, replay: bool) -> "Judge":
    """Exact match, or the language model that a file names."""
    from eval.judge import ExactMatch
    from eval.llm_judge import LanguageModel, read_settings

    if settings is None:
        if replay:
            raise EvalError("--replay repeats a language model's replies; name it with --judge FILE.")
        return ExactMatch()
    return LanguageModel(read_settings(settings), store.root / "judge", replay)


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
    from serving.policy import PolicyError

    return EvalError, StoreError, AssetError, UnknownModality, BadMedia, BadData, PolicyError


if __name__ == "__main__":
    main()
