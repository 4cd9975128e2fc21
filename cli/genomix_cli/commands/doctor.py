"""``genomix doctor``: what this machine can use, and why not what it cannot."""

import json
from dataclasses import asdict
from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")] = False,
) -> None:
    """Show what this machine can use, and for what it cannot: why, and what to do.

    Exit code 1 if something that genomix needs is broken.

    Example: [bold]genomix doctor --json > doctor.json[/bold]
    """
    from genomix.environment import examine

    checks = examine()
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        marks = {"ok": "[green]ok[/green]", "absent": "[yellow]-[/yellow]", "broken": "[red]broken[/red]"}
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for column in range(3):
            table.add_column(no_wrap=column < 2, overflow="fold")
        group = ""
        for check in checks:
            if check.group != group:
                if group:
                    table.add_section()
                    table.add_row("", "", "")
                table.add_row(f"[bold]{check.group}[/bold]", "", "")
                group = check.group
            remedy = f"; [dim]{escape(check.remedy)}[/dim]" if check.remedy else ""
            table.add_row("  " + check.name, marks[check.status], escape(check.found) + remedy)
        out = Console(highlight=False)
        if not out.is_terminal:
            out.width = 200  # a file or a pipe (the text of an issue, say) has no width to fit into
        out.print(table)
    if any(check.status == "broken" for check in checks):
        raise typer.Exit(1)
