"""How ``genomix plan`` shows a plan: one table, and what to change where it does not fit."""

import sys
from typing import TYPE_CHECKING

from genomix_cli.training_output import plain_table

if TYPE_CHECKING:
    from rich.table import Table

    from genomix.training.plan import Plan

WIDTH_OF_A_FILE = 160


def show_plan(plan: "Plan") -> None:
    """Print a plan on stdout."""
    from rich.console import Console

    # away from a terminal there is no width to keep to
    out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)
    out.print(_facts(plan))
    out.print()
    out.print(_verdict(plan), soft_wrap=True)
    if plan.changes:
        out.print()
        out.print(_changes(plan))
    for note in plan.notes:
        out.print(f"note: {note}", style="dim", markup=False, soft_wrap=True)


def _facts(plan: "Plan") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    from genomix.training.footprint import gigabytes as size

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")

    def group(name: str, about: str) -> None:
        if table.row_count:
            table.add_row("", "", "")
        table.add_row(f"[bold]{name}[/bold]", "", escape(about))

    def row(name: str, value: str, about: str = "") -> None:
        table.add_row(f"  {name}", value, f"[dim]{escape(about)}[/dim]")

    parts, memory, state = plan.parts, plan.memory, plan.memory.state
    group("model", plan.model)
    row("parameters", f"{parts.total:,}")
    for name, count in (
        ("embedding", parts.embedding),
        ("mixers", parts.mixers),
        ("MLPs", parts.mlps),
        ("norms", parts.norms),
    ):
        row(f"  {name}", f"{count:,}", f"{count / parts.total:.0%}")

    group("run", f"{plan.device}, {plan.precision}, processes: {plan.processes}")
    row(
        "tokens a batch",
        f"{plan.batch_size * plan.seqlen:,}",
        f"{plan.batch_size:,} windows of {plan.seqlen:,}",
    )
    row(
        "tokens a step",
        f"{plan.batch_size * plan.seqlen * plan.accumulate:,}",
        f"{plan.accumulate:,} batches" if plan.accumulate > 1 else "",
    )

    group("memory", "of each process" if plan.n_processes > 1 else "")
    if memory.base:
        row("Python and libraries", size(memory.base))
    row("weights", size(state.weights))
    row("gradients", size(state.gradients))
    row("optimizer", size(state.optimizer))
    if state.average:
        row("averaged weights", size(state.average))
    row("a batch", size(memory.batch), "measured" if memory.is_measured else "estimated")
    row("peak of training", f"[bold]{size(memory.peak)}[/bold]")
    if memory.scoring is not None:
        row("peak of validation", size(memory.scoring))
    if memory.context_models is not None:
        row("context models, at the end", size(memory.context_models), "of the machine, trainer.markov_order")
    row("available", "not known" if memory.available is None else size(memory.available))

    group("time", "")
    row("tokens a second", _or_unknown(plan.tokens_per_second, "{:,.0f}"))
    row("seconds a step", _or_unknown(plan.seconds_per_step, "{:.3g}"))
    row("steps", _or_unknown(plan.steps, "{:,}"))
    if plan.n_train_bases is not None:
        row("epochs", _or_unknown(plan.epochs, "{:.3g}"), f"of {plan.n_train_bases:,} training bases")
    row("training", _duration(plan.hours), "validation and scoring come on top")

    group("disk", "")
    row("a checkpoint", size(plan.checkpoint_bytes))
    row("the run, at most", size(plan.run_bytes))
    row("free", size(plan.free_bytes))
    return table


def _verdict(plan: "Plan") -> str:
    from genomix.training.footprint import gigabytes as size

    memory = plan.memory
    lines = []
    if memory.available is None:
        lines.append("[yellow]whether it fits is not known[/yellow]")
    elif memory.fits:
        part = memory.most / memory.available
        lines.append(f"[green]fits[/green]: {size(memory.most)} of {size(memory.available)}, {part:.0%}")
    else:
        lines.append(
            f"[red]does not fit[/red]: {size(memory.most)}, and {size(memory.available)} are available"
        )
        if memory.state.total > memory.available:
            lines.append(
                "weights, gradients and optimizer alone are too large: take a smaller model, or more GPUs that share "
                "them (parallel.shard)"
            )
        elif not plan.changes:
            what = (
                "validation" if memory.scoring == memory.most else "the context models (trainer.markov_order)"
            )
            lines.append(f"training would fit: it is {what} that needs so much")
    if plan.run_bytes > plan.free_bytes:
        lines.append(
            f"[red]the disk is too small[/red]: checkpoints take up to {size(plan.run_bytes)}; free some space, choose "
            "another folder (-o), or keep fewer of them (trainer.keep_checkpoints=1)"
        )
    return "\n".join(lines)


def _changes(plan: "Plan") -> "Table":
    from rich.text import Text

    from genomix.training.footprint import gigabytes as size

    table: Table = plain_table("what to change", "peak", "tokens/s", "fits")
    for change in plan.changes:
        table.add_row(
            change.settings,
            size(change.peak),
            _or_unknown(change.tokens_per_second, "{:,.0f}"),
            Text("yes", "green") if change.fits else Text("no", "red"),
        )
    return table


def _or_unknown(value: float | None, form: str) -> str:
    return "not known" if value is None else form.format(value)


def _duration(hours: float | None) -> str:
    if hours is None:
        return "not known"
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:,.1f} minutes"
