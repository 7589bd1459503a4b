"""Fetch ahead of time what serving needs, and list what is pinned. It trains and serves nothing."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from modalities import packages
from modalities.assets import AssetError
from modalities.backbone import SMOLLM2, backbone
from modalities.base import UnknownModality, builtin, find

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Modalities; all built-in ones by default.")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="Where it goes; $POLYMERA_STORE, else ./store.")] = None,
    data: Annotated[bool, typer.Option("--data", help="Also the datasets, for training and evaluating.")] = False,
) -> None:
    """Fetch and convert the backbone and the modalities' encoders. A second run needs no network."""
    root = store or Path(os.environ.get("POLYMERA_STORE", "store"))
    try:
        modalities = [find(name) for name in names or builtin()]
        backbone(root, SMOLLM2)
        for modality in modalities:
            modality.encoder(root)
            if data:
                modality.datasets(root)
            typer.echo(f"{modality.name} is ready", err=True)
    except (AssetError, UnknownModality) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


@app.command()
def ls() -> None:
    """List every package that may be fetched, with its licence."""
    for package in packages.ALL:
        size = f"{package.size / 1e6:.1f} MB"
        typer.echo(f"{package!s:42} {package.kind:5} {size:>8}  {package.licence:36} {package.origin}")


if __name__ == "__main__":
    sys.exit(app())
