"""``genomix models``: which sizes there are."""

import difflib
import json
import sys
from typing import Annotated

import typer


def command(
    name: Annotated[str | None, typer.Argument(help="Show one model in full, e.g. hyenadna/tiny-1k.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")] = False,
) -> None:
    """List the models that ship with genomix and the sizes that it knows, or show one of them in full.

    Example: [bold]genomix models hyenadna/large-1m[/bold]
    """
    from genomix.checkpoint.shipped import shipped_models, shipped_row
    from genomix.models.registry import MODELS, get_model
    from genomix_data.errors import ConfigError

    if name is not None and name not in shipped_models() and name not in MODELS:
        close = difflib.get_close_matches(name, [*shipped_models(), *MODELS], n=1)
        if close and close[0] in shipped_models():
            raise ConfigError(f"no model is named {name!r}. Did you mean {close[0]!r}?")
    ships = [shipped_row(each) for each in shipped_models() if name in (None, each)]
    rows = ships if name in shipped_models() else [get_model(name)] if name else [*ships, *MODELS.values()]
    if as_json:
        print(json.dumps([row.to_dict() for row in rows], indent=2))
        return

    from rich.console import Console
    from rich.table import Table

    from genomix_cli.rows_output import print_rows

    # away from a terminal there is no width to keep to: a name cut short is of no use to grep
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    if name:
        details = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for key, value in rows[0].to_dict().items():
            if isinstance(value, dict):
                details.add_row(f"[bold]{key}[/bold]", "")
                for inner, setting in value.items():
                    details.add_row(f"  {inner}", str(setting))
            else:
                details.add_row(f"[bold]{key}[/bold]", "-" if value is None else str(value))
        out.print(details)
        return
    print_rows(
        ("model", "parameters", "context", "layers", "d_model", "precision", "weights"),
        [
            (
                row.name,
                f"{row.n_parameters:,}",
                f"{row.context_len:,}",
                str(row.config.n_layers),
                str(row.config.d_model),
                "fp32" if row in ships else getattr(row.config, "weights_precision", "fp32"),
                row.notes if row in ships else row.source or "none: a size to train",
            )
            for row in rows
        ],
        right=("parameters", "context", "layers", "d_model"),
    )
