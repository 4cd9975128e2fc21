"""``genomix models``: which sizes there are."""

import json
from typing import Annotated

import typer


def command(
    name: Annotated[str | None, typer.Argument(help="Show one model in full, e.g. hyenadna/tiny-1k.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")] = False,
) -> None:
    """List the model sizes that genomix knows, or show one of them in full.

    Example: [bold]genomix models hyenadna/large-1m[/bold]
    """
    from genomix.models.registry import MODELS, get_model

    rows = [get_model(name)] if name else list(MODELS.values())
    if as_json:
        print(json.dumps([row.to_dict() for row in rows], indent=2))
        return

    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False)
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
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("model", no_wrap=True)
    table.add_column("parameters", justify="right")
    table.add_column("context", justify="right")
    table.add_column("layers", justify="right")
    table.add_column("d_model", justify="right")
    table.add_column("published weights", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            f"{row.n_parameters:,}",
            f"{row.context_len:,}",
            str(row.config.n_layers),
            str(row.config.d_model),
            row.source or "[dim]ours: train it with genomix pretrain[/dim]",
        )
    out.print(table)
