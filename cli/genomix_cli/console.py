"""What people see while a command works: everything here goes to stderr, results go to stdout or a file."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console

console = Console(stderr=True, highlight=False, soft_wrap=True)

LINE_EVERY_S = 15.0
"""Away from a terminal (a log file, a SLURM job) progress is one line in this many seconds."""


def is_terminal() -> bool:
    """Return whether stderr is a terminal that wants bars and colours."""
    return console.is_terminal and not os.environ.get("GENOMIX_NO_PROGRESS")


def say(message: str, *, style: str | None = None) -> None:
    """Print one line for the person at the screen; square brackets are taken literally."""
    console.print(message, style=style, markup=False)


class Progress(Protocol):
    """How far a piece of work has come."""

    def advance(self, steps: float = 1, **fields: str) -> None:
        """Move on by ``steps``; ``fields`` are shown beside the bar, e.g. ``loss="1.31"``."""
        ...


class _Silent:
    def advance(self, steps: float = 1, **fields: str) -> None:
        """Show nothing."""


@dataclass
class _Lines:
    """One line now and then, for logs."""

    description: str
    total: float | None
    unit: str
    done: float = 0.0
    started: float = field(default_factory=time.monotonic)
    last: float = field(default_factory=time.monotonic)

    def advance(self, steps: float = 1, **fields: str) -> None:
        self.done += steps
        now = time.monotonic()
        if now - self.last >= LINE_EVERY_S:
            self.last = now
            say(self.line(fields))

    def line(self, fields: dict[str, str]) -> str:
        seconds = max(time.monotonic() - self.started, 1e-9)
        whole = f"/{self.total:,.0f}" if self.total else ""
        extras = "".join(f" | {name} {value}" for name, value in fields.items())
        return (
            f"{self.description}: {self.done:,.0f}{whole} {self.unit}"
            f" | {self.done / seconds:,.0f} {self.unit}/s{extras}"
        )


class _Bar:
    """A live bar on a terminal."""

    def __init__(self, description: str, total: float | None, unit: str) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

        self.unit = unit
        self.started = time.monotonic()
        self.done = 0.0
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f}%" if total else "{task.completed:,.0f}"),
            TextColumn("[cyan]{task.fields[rate]}"),
            TextColumn("{task.fields[extras]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task(description, total=total, rate="", extras="")

    def advance(self, steps: float = 1, **fields: str) -> None:
        self.done += steps
        seconds = max(time.monotonic() - self.started, 1e-9)
        extras = "  ".join(f"{name} [bold]{value}[/bold]" for name, value in fields.items())
        self.bar.update(
            self.task, advance=steps, rate=f"{self.done / seconds:,.0f} {self.unit}/s", extras=extras
        )


@contextmanager
def progress(
    description: str, total: float | None = None, *, unit: str = "items", quiet: bool = False
) -> Iterator[Progress]:
    """Show how a piece of work goes on: a bar on a terminal, a line now and then elsewhere, nothing if ``quiet``.

    Args:
        description: What is being done, in two or three words.
        total: Number of ``unit`` in all; None where it is not known.
        unit: What is counted: tokens, alleles, steps.
        quiet: Show nothing.
    """
    if quiet:
        yield _Silent()
    elif is_terminal():
        bar = _Bar(description, total, unit)
        with bar.bar:
            yield bar
    else:
        yield _Lines(description, total, unit)


def close_stdout_quietly() -> None:
    """Leave without a complaint when the reader of a pipe (``| head``) has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
