"""What a person sees while a model trains: one calm bar on a terminal, a line now and then elsewhere.

Everything goes to stderr through rich; nothing is shown where ``progress=False``.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LINE_EVERY_S = 15.0
"""Away from a terminal, seconds between two lines."""


class Bar(Protocol):
    """How far a piece of work has come."""

    def update(self, done: int, fields: dict[str, str]) -> None:
        """Say that ``done`` steps of all are done; ``fields`` stand beside the bar, e.g. ``{"loss": "1.31"}``."""
        ...


class Screen:
    """Where training speaks to people.

    Args:
        progress: A rich console to speak through; True makes one on stderr, False says nothing.
    """

    def __init__(self, progress: "bool | Console") -> None:
        self.console = _stderr_console(progress) if isinstance(progress, bool) else progress

    def say(self, message: str, *, style: str | None = None) -> None:
        """Show one line; above the bar where there is one."""
        if self.console is not None:
            from rich.text import Text

            # Given to print() itself, a style would colour the bar below as well.
            self.console.print(Text(message, style=style or ""))

    @contextmanager
    def bar(self, description: str, total: int, unit: str, *, done: int = 0) -> Iterator[Bar]:
        """Show how a piece of work goes on.

        Args:
            description: One or two words.
            total: Steps in all.
            unit: What a step is called: ``step``, ``epoch``.
            done: Steps that an earlier part of the run has done.
        """
        if self.console is None:
            yield _Nothing()
        elif self.console.is_terminal and not os.environ.get("GENOMIX_NO_PROGRESS"):
            bar = _live_bar(self.console)
            with bar:
                task = bar.add_task(description, total=total, completed=done, extras="", unit=unit)
                yield _Live(bar, task)
        else:
            yield _Lines(self, description, total, unit)


def _stderr_console(wanted: bool) -> "Console | None":
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True) if wanted else None


class _Nothing:
    def update(self, done: int, fields: dict[str, str]) -> None:
        """Show nothing."""


@dataclass
class _Lines:
    screen: Screen
    description: str
    total: int
    unit: str
    last: float = field(default_factory=time.monotonic)

    def update(self, done: int, fields: dict[str, str]) -> None:
        now = time.monotonic()
        if now - self.last >= LINE_EVERY_S or done == self.total:
            self.last = now
            values = "".join(f" | {name} {value}" for name, value in fields.items())
            self.screen.say(f"{self.description}: {self.unit} {done:,}/{self.total:,}{values}")


@dataclass
class _Live:
    progress: "Progress"
    task: "TaskID"

    def update(self, done: int, fields: dict[str, str]) -> None:
        extras = "  ".join(f"[dim]{name}[/dim] [bold]{value}[/bold]" for name, value in fields.items())
        self.progress.update(self.task, completed=done, extras=extras)


def _live_bar(console: "Console") -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("[dim]{task.fields[unit]}[/dim] {task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("{task.fields[extras]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        refresh_per_second=4,
    )
