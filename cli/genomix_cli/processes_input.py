"""The option of ``genomix score`` that says how many processes of this machine score side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from genomix.variant_effect.processes import ScoringProcesses

ProcessesOption = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Score in so many processes at a time, on all GPUs in turn: a small model needs several to fill one.",
        rich_help_panel="Many variants",
    ),
]


def refuse_other_ways(processes: int, engine: str, shard: str | None) -> None:
    """Raise a ConfigError if several processes are asked for, and another way to share the work too."""
    from genomix_data.errors import ConfigError

    if processes == 1:
        return
    if engine != "local":
        raise ConfigError(
            f"--processes is of --engine local; with --engine {engine} say --ray-workers {processes}."
        )
    if shard is not None:
        raise ConfigError(
            f"--processes makes shards itself and merges them; leave out --shard {shard}, or --processes."
        )


def new_processes(model: Path, n: int, device: str, threads: int | None) -> "ScoringProcesses":
    """Return the processes that were asked for, to be started as a context manager."""
    from genomix.variant_effect.processes import ScoringProcesses
    from genomix_cli.memory import settle_process

    return ScoringProcesses(model, n, device=device, threads=threads, prepare=settle_process)
