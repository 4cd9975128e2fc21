"""A grid of settings, compared on validation only; the best one is then trained with all its seeds, and tested once.

OUTPUT/trials/001.json ..., sweep.json, sweep.md, best/ (as `genomix.training.protocol` writes it)
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomix.evaluation.metric_names import METRIC_NAMES
from genomix.training.build import plain
from genomix.training.device import choose_device, own_random_state
from genomix.training.finetune import train
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.finetune_data import read_tables
from genomix.training.finetune_model import prepare_model
from genomix.training.protocol import run_protocol
from genomix.training.run_folder import write_json, write_text
from genomix.training.screen import Screen
from genomix.training.side_by_side import JobFailedError, n_workers, run_side_by_side
from genomix.training.summary import Summary
from genomix_data.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Trial:
    """One point of the grid.

    Args:
        number: From 1.
        settings: What is varied, as ``key: value``.
        config: What is run; with one seed.
        file: Where its outcome is written.
    """

    number: int
    settings: Mapping[str, str]
    config: FinetuneConfig
    file: Path


@dataclass(frozen=True)
class SweepResult:
    """What came of a sweep.

    Args:
        folder: The output folder.
        monitor: What validation was asked.
        trials: Outcomes, the best first: number, settings, value, loss, epoch, seconds.
        best: What the winner's runs say together, the test set included.
        failed: Settings of the trials that could not be made, and why.
    """

    folder: Path
    monitor: str
    trials: tuple[dict[str, Any], ...]
    best: Summary
    failed: tuple[tuple[Mapping[str, str], str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {
            "monitor": self.monitor,
            "trials": list(self.trials),
            "failed": [{"settings": dict(settings), "error": error} for settings, error in self.failed],
            "best": self.best.to_dict(),
        }

    @property
    def not_made(self) -> tuple[str, ...]:
        """Which trials could not be made and why, a line each."""
        return tuple(_failure(settings, error) for settings, error in self.failed)


def run_sweep(
    points: Sequence[tuple[Mapping[str, str], FinetuneConfig]],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
    progress: "bool | Console" = True,
) -> SweepResult:
    """Try every point of a grid with one seed, then train the one that was best on validation with all its seeds.

    The test set is not looked at before that. Trials that are there already, of the same settings, are taken as they
    are. A trial that fails, as one whose learning rate is too high does, is an outcome: it is told, and the others go
    on.

    Args:
        points: What is varied at each, and its whole config.
        output: Folder to write.
        overwrite: Make everything anew.
        command: Command line, for provenance.
        progress: A rich console to speak through; True makes one on stderr, False says nothing.

    Raises:
        ConfigError: for an empty grid, or a protocol under which the test set would choose.
        GenomixError: for input that does not fit, or if no trial could be made.
    """
    if not points:
        raise ConfigError(
            "the grid is empty; give several values of a setting, such as optimizer.lr=3e-4,1e-3."
        )
    if any(config.protocol == "paper" for _, config in points):
        raise ConfigError(
            "protocol=paper lets the test set choose; a sweep over it would tune on the test. Use protocol=holdout."
        )
    folder, screen = Path(output), Screen(progress)
    trials = [
        Trial(number, settings, replace(config, seeds=1), folder / "trials" / f"{number:03}.json")
        for number, (settings, config) in enumerate(points, start=1)
    ]
    missing = [trial for trial in trials if overwrite or not _is_done(trial)]
    device = choose_device(points[0][1].trainer)
    workers = n_workers(points[0][1].trainer.workers, len(missing) or 1, device)
    screen.say(f"{len(missing):,} of {len(trials):,} trials to make on {device.type}, {workers} at a time")
    errors: dict[int, str] = {}
    with screen.bar("trials", len(missing), "trial") as bar:
        for n_done, done in enumerate(run_side_by_side(_try, missing, workers), start=1):
            if done.error:
                errors[done.job.number] = done.error
                screen.say(f"  {_failure(done.job.settings, done.error)}", style="red")
            else:
                write_json(done.job.file, done.result)
                screen.say(
                    f"  {_words(done.job.settings)}: {done.result['monitor']} {done.result['value']:.4f}"
                )
            bar.update(n_done, {})
    failed = tuple((trial.settings, errors[trial.number]) for trial in trials if trial.number in errors)
    if len(failed) == len(trials):
        others = f" (nor could any other of the {len(trials)} trials be made)" if len(trials) > 1 else ""
        raise JobFailedError(f"trial {_failure(*failed[0])}{others}")
    made = [
        (trial, config, json.loads(trial.file.read_text()))
        for trial, (_, config) in zip(trials, points, strict=True)
        if trial.number not in errors
    ]
    made.sort(key=lambda each: _rank(each[2]), reverse=True)
    best, config, _ = made[0]
    screen.say(
        f"the best on validation: {_words(best.settings)}; it is now trained with all seeds and tested once"
    )
    summary = run_protocol(config, folder / "best", overwrite=overwrite, command=command, progress=progress)
    ranked = tuple({k: v for k, v in found.items() if k != "config"} for _, _, found in made)
    result = SweepResult(folder, ranked[0]["monitor"], ranked, summary, failed)
    write_json(folder / "sweep.json", result.to_dict())
    write_text(folder / "sweep.md", sweep_table(result))
    return result


def sweep_table(result: SweepResult) -> str:
    """Return the trials as a table, the best first."""
    keys = list(result.trials[0]["settings"])
    head = [
        *keys,
        f"validation {METRIC_NAMES.get(result.monitor, result.monitor)}",
        "loss",
        "epoch",
        "seconds",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for trial in result.trials:
        cells = [*(str(trial["settings"][key]) for key in keys), f"{trial['value']:.4f}"]
        cells += [f"{trial['loss']:.4f}", str(trial["epoch"]), f"{trial['seconds']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    if result.failed:
        lines += ["", "Not made:", "", *(f"- {line}" for line in result.not_made)]
    return "\n".join(lines) + "\n"


def _try(trial: Trial) -> dict[str, Any]:
    """Train one point and return how good it was on validation; the test set is read and not scored."""
    config = trial.config
    device = choose_device(config.trainer)
    tables = read_tables(
        config.data, seed=config.trainer.seed, kind=config.head.kind, protocol=config.protocol
    )
    with own_random_state(config.trainer.seed):
        loop = train(prepare_model(config, tables, device), Screen(False))
    assert loop.best is not None
    value = loop.best.metrics.value(config.monitor)
    return {
        "number": trial.number,
        "settings": dict(trial.settings),
        "monitor": config.monitor,
        "value": float("-1e9") if value is None else value,
        "loss": loop.best.metrics.loss,
        "epoch": loop.best.epoch,
        "seconds": loop.train_seconds,
        "config": plain(config),
    }


def _is_done(trial: Trial) -> bool:
    if not trial.file.exists():
        return False
    before = json.loads(trial.file.read_text())
    return bool(before["config"] == json.loads(json.dumps(plain(trial.config))))


def _rank(found: Mapping[str, Any]) -> tuple[float, float]:
    sign = -1.0 if found["monitor"] == "loss" else 1.0
    return sign * found["value"], -found["loss"]


def _failure(settings: Mapping[str, str], error: str) -> str:
    return f"{_words(settings)}: {' '.join(error.split())}"


def _words(settings: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in settings.items())
