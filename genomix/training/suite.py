"""Many tasks in one go: the runs of all of them side by side, one table at the end.

    OUTPUT/TASK/... (each as `genomix.training.protocol` writes it), OUTPUT/suite.json, OUTPUT/suite.md

A suite that was stopped goes on where it was when it is started again: what is finished is taken as it is.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genomix.training.finetune_config import FinetuneConfig
from genomix.training.protocol import NotMade, Run, make_runs, runs_of, write_summary
from genomix.training.run_folder import write_json, write_text
from genomix.training.summary import Summary, markdown_table
from genomix_data.benchmarks import benchmark_sets
from genomix_data.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


def run_suite(
    configs: Mapping[str, FinetuneConfig],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
    progress: "bool | Console" = True,
) -> tuple[list[Summary], list[str]]:
    """Make the runs of all tasks that are not there yet, and return what those of each task say together.

    Args:
        configs: By the name of the task.
        output: Folder to write.
        overwrite: Make all runs anew.
        command: Command line, for provenance.
        progress: A rich console to speak through; True makes one on stderr, False says nothing.

    Returns:
        The tasks of which a run was made, in their order; and why runs could not be made, which the next call tries
        again. The tables are written whenever a task has no run left, so that what is there can be read while the rest
        goes on.
    """
    if not configs:
        raise ConfigError("no tasks were chosen; give some, such as task=gue/tf/0,gue/mouse/2.")
    folder = Path(output)
    runs = {name: runs_of(config, folder / name, command) for name, config in configs.items()}
    left = {name: len(own) for name, own in runs.items()}
    owner = {run.folder: name for name, own in runs.items() for run in own}
    summaries: dict[str, Summary] = {}
    failed: dict[str, list[NotMade]] = {name: [] for name in configs}
    # The longest first, so that none of them runs alone at the end.
    everything = sorted((run for own in runs.values() for run in own), key=_work, reverse=True)
    for done in make_runs(everything, overwrite=overwrite, progress=progress):
        name = owner[(done.run if isinstance(done, NotMade) else done).folder]
        left[name] -= 1
        if isinstance(done, NotMade):
            failed[name].append(done)
        elif left[name]:
            continue
        if not left[name] and len(failed[name]) < len(runs[name]):
            summaries[name] = write_summary(configs[name], runs[name], folder / name, failed[name])
        _write(folder, [summaries[name] for name in configs if name in summaries], _lines(failed))
    return [summaries[name] for name in configs if name in summaries], _lines(failed)


def _lines(failed: Mapping[str, Sequence[NotMade]]) -> list[str]:
    return [str(each) for own in failed.values() for each in own]


def _write(folder: Path, summaries: Sequence[Summary], failed: Sequence[str]) -> None:
    write_json(
        folder / "suite.json",
        {"tasks": [summary.to_dict() for summary in summaries], "failed": list(failed)},
    )
    write_text(folder / "suite.md", markdown_table(summaries, failed))


def _work(run: Run) -> float:
    """Return roughly how much there is to compute: bases of the training set, times the epochs."""
    info = benchmark_sets().get(run.config.data.benchmark or "")
    if info is None or info.n_total is None:
        return 0.0
    n_train = info.n_sequences.get("train", info.n_total)
    return float(n_train * (info.length or (1, 1))[1] * run.config.trainer.max_epochs)
