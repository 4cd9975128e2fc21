"""How fine-tuning of several runs or tasks is asked for, and shown."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genomix_cli.training_output import plain_table

if TYPE_CHECKING:
    from genomix.training.summary import Summary
    from genomix.training.sweep import SweepResult

MOST_TRIALS = 20
"""Trials of a sweep that the screen shows."""


def tasks_in(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the tasks of a ``task=`` that names several, and the other overrides; no tasks where it names one or none.

    Raises:
        ConfigError: if a name or pattern is that of no task.
    """
    own = [text for text in overrides if text.startswith("task=")]
    text = own[-1].partition("=")[2] if own else ""
    if not any(letter in text for letter in ",*?["):
        return [], list(overrides)
    from genomix_configs.tasks import chosen_tasks

    return chosen_tasks(text), [text for text in overrides if not text.startswith("task=")]


def print_tasks() -> None:
    """Print the recipes: name, data set, where its settings come from."""
    from genomix_cli.rows_output import print_rows
    from genomix_configs.tasks import task_recipes
    from genomix_data.benchmarks import benchmark_sets

    sets = benchmark_sets()
    print_rows(
        ("task", "settings", "what"),
        [
            (
                recipe.name,
                recipe.source,
                sets[recipe.benchmark].what if recipe.benchmark else "species of a read; tables of your own",
            )
            for recipe in task_recipes().values()
        ],
    )


def show_summary(summary: "Summary", folder: Path, *, as_json: bool, quiet: bool) -> None:
    """Show what several runs of one task say together."""
    if as_json:
        print(json.dumps(summary.to_dict(), indent=2, allow_nan=False))
    if quiet:
        return
    from genomix.evaluation.metric_names import METRIC_NAMES
    from genomix_cli.console import console, say

    table = plain_table(f"{summary.n_runs} runs", "mean", "sd", "95 % of the test", "no near copies")
    for name, found in summary.test.items():
        clean = summary.test_clean.get(name)
        interval = "-" if found.interval is None else "{:.4f} to {:.4f}".format(*found.interval)
        table.add_row(
            METRIC_NAMES.get(name, name),
            f"{found.mean:.4f}",
            "-" if found.sd is None else f"{found.sd:.4f}",
            interval,
            "-" if clean is None else f"{clean.mean:.4f}",
        )
    console.print()
    console.print(table)
    console.print()
    if summary.ensemble is not None:
        values = " | ".join(
            f"{name} {value:.4f}" for name, value in summary.ensemble.headline()[:5] if value is not None
        )
        say(f"the mean of all models: {values}")
    for row in summary.published:
        spread = f" ± {row.spread:.3f}" if row.spread else ""
        say(
            f"published: {METRIC_NAMES.get(row.metric, row.metric)} {row.value:.3f}{spread}  "
            f"{row.model} ({row.protocol})",
            style="dim",
        )
    for line in summary.not_made:
        say(f"not made: {line}", style="red")
    say(f"model   {summary.best.folder / 'model'} (the best on its validation set)")
    say(f"record  {folder / 'result.json'}, {folder / 'table.md'}", style="dim")


def show_suite(
    summaries: Sequence["Summary"], failed: Sequence[str], folder: Path, *, as_json: bool, quiet: bool
) -> None:
    """Show a row for each task."""
    if as_json:
        found = {"tasks": [summary.to_dict() for summary in summaries], "failed": list(failed)}
        print(json.dumps(found, indent=2, allow_nan=False))
    if quiet:
        return
    from genomix.evaluation.metric_names import METRIC_NAMES
    from genomix.training.summary import METRICS
    from genomix_cli.console import console, say

    table = plain_table("task", "runs", "metric", "mean ± sd", "clean", "published")
    for summary in summaries:
        metric = METRICS[summary.config.head.kind][0]
        clean = summary.test_clean.get(metric)
        published = [row for row in summary.published if row.metric == metric]
        best = max(published, key=lambda row: row.value, default=None)
        table.add_row(
            summary.config.task or "-",
            summary.n_runs,
            METRIC_NAMES.get(metric, metric),
            str(summary.test.get(metric, "-")),
            "-" if clean is None else f"{clean.mean:.4f}",
            "-" if best is None else f"{best.value:.3f}",
        )
    console.print()
    console.print(table)
    console.print()
    say(
        "clean: without test sequences that have a near copy in training; published: the best, whatever its protocol"
    )
    for line in failed:
        say(f"not made: {line}", style="red")
    say(f"record  {folder / 'suite.json'}, {folder / 'suite.md'}")


def show_sweep(result: "SweepResult") -> None:
    """Show the trials, the best first, and what the winner reached on the test."""
    from genomix.evaluation.metric_names import METRIC_NAMES
    from genomix_cli.console import console, say

    keys = list(result.trials[0]["settings"])
    table = plain_table(
        *keys, f"validation {METRIC_NAMES.get(result.monitor, result.monitor)}", "loss", "epoch"
    )
    for trial in result.trials[:MOST_TRIALS]:
        values = [str(trial["settings"][key]) for key in keys]
        table.add_row(*values, f"{trial['value']:.4f}", f"{trial['loss']:.4f}", str(trial["epoch"]))
    console.print()
    console.print(table)
    if len(result.trials) > MOST_TRIALS:
        say(f"and {len(result.trials) - MOST_TRIALS} more; sweep.md has all of them", style="dim")
    for line in result.not_made:
        say(f"not made: {line}", style="red")
    show_summary(result.best, result.folder / "best", as_json=False, quiet=False)
    say(f"sweep   {result.folder / 'sweep.md'}, {result.folder / 'sweep.json'}", style="dim")
