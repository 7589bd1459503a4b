"""`extend study`: the grid, worked off and written down; and `extend diagnose`, the probe for one checkpoint."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extend import RunError
from extend.console import HOME, JsonOption, LimitOption, RecipeOption, StoreOption, finish, say
from extend.recipe import load
from modalities.base import find
from modalities.checkpoint import Store, write
from modalities.userdata import keep

if TYPE_CHECKING:
    from extend.study.results import Results

METHODS = "finetune,replay@0.01,replay@0.1,ewc,eproj,pathweave,merge,mera@0.01,mera@0.1"


def study(
    names: Annotated[list[str], typer.Argument(metavar="MODALITY...", help="In the sequential order; two or more.")],
    methods: Annotated[
        str, typer.Option(help="By commas: mera@0.1+noise=0.5 is MERA on 10 %, half of it mispaired.")
    ] = METHODS,
    orders: Annotated[str, typer.Option(help="sequential, reverse, or both by a comma.")] = "sequential,reverse",
    seeds: Annotated[str, typer.Option(help="By commas.")] = "0",
    out: Annotated[Path, typer.Option(help="Everything is kept here; the same command goes on here.")] = Path("study"),
    recipe: RecipeOption = "embedded",
    data: Annotated[list[str] | None, typer.Option(metavar="MODALITY=DIR", help="Your own folder for one.")] = None,
    limit: LimitOption = None,
    diagnose: Annotated[bool, typer.Option(help="Probe after each stage what was forgotten, what misaligned.")] = True,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes at once; else as memory allows.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of each process.")] = 1,
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Run methods side by side on your data: the paper's tables and figures, in your numbers."""
    from extend.study import grid, results
    from extend.study.conduct import Conductor, say_failures
    from extend.study.variant import variant

    texts, chosen, numbers = tuple(_words(methods)), tuple(_words(orders)), tuple(_numbers(seeds))
    for text in texts:
        variant(text)
    if odd := [name for name in chosen if name not in grid.ORDERS]:
        raise RunError(f"No order {odd[0]!r}; there are: {', '.join(grid.ORDERS)}.")
    if len({find(name).name for name in names}) < max(2, len(names)):
        raise RunError("A study needs two modalities or more, each once; name them in the sequential order.")
    settings = grid.Study(
        modalities=tuple(names),
        recipe=load(recipe),
        data=_kept(Store(store), names, data or []),
        limit=limit,
        diagnose=diagnose,
        threads=threads,
    )
    opened = grid.open_study(out, Store(store), settings, numbers)
    experts = Conductor(opened, jobs)
    experts.conduct([[one] for seed in numbers for one in opened.experts(seed)], "experts")
    say_failures(experts.failed)
    runs = list(opened.all(chosen, texts, numbers))
    trained, served = Conductor(opened, jobs), Conductor(opened, 1)  # a latency is measured alone
    trained.conduct(runs, "study")
    served.conduct(opened.ends(runs), "serving")
    found = results.gather(opened, chosen, texts, numbers)
    _put_down(out, found, f"recipe {Path(recipe).stem} on {settings.recipe.base_llm}; {limit or 'all'} items a dataset")
    say(f"wrote results.md, results.json and two figures to {out.name}/")
    say_failures(trained.failed | served.failed)
    finish({"out": str(out), "runs": len(found.runs)}, as_json)


def _put_down(out: Path, found: "Results", how: str) -> None:
    """results.json, each seed's raw scores, results.md and its two figures."""
    from extend.study import figures, tables, written

    Store(out).write_json(out / "results.json", written.as_json(found))
    for seed in found.experts:
        Store(out).write_json(out / f"scores-seed-{seed}.json", written.as_tables(found, seed))
    command = " ".join(["extend", *map(shlex.quote, sys.argv[1:])])
    write(out / "results.md", tables.page(found, command, how).encode())
    figures.draw(found, out)


def diagnose_checkpoint(
    id: Annotated[str, typer.Argument(help="A checkpoint of the store that has a parent. See: extend ls")],
    store: StoreOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Say of each older modality whether the last stage left it kept, misaligned or forgotten."""
    from eval.diagnosis import dump, words
    from extend.diagnose import diagnose

    changes = diagnose(Store(store), id)
    for change in changes:
        say(words(change).replace("**", ""))
    say(f"it is in the report after: python -m eval run {id}")
    finish({"checkpoint": id, "diagnosis": dump(changes)}, as_json)


def _kept(home: Store, names: list[str], data: list[str]) -> dict[str, str]:
    """A user's folders, kept in the store, by the modality that each is to teach."""
    found = {}
    for one in data:
        name, _, folder = one.partition("=")
        if name not in names or not folder:
            raise RunError(f"{one!r} names no folder of a modality of this study; write MODALITY=DIR.")
        found[find(name).name] = keep(home, find(name), Path(folder))
    return found


def _words(text: str) -> list[str]:
    """What stands between commas, each once."""
    found = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        raise RunError("Name at least one method, order and seed.")
    return found


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in _words(text)]
    except ValueError as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{text!r} is no list of seeds; write whole numbers, as in 0,1.") from None
