"""Several runs of one config: the seeds and folds of its protocol, each an ordinary run folder.

OUTPUT/config.yaml, result.json (means, spreads and intervals over the runs), table.md,
OUTPUT/runs/seed-2222/ ... (see `genomix.training.finetune`)
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genomix.evaluation.run_record import read_run
from genomix.training.build import build, plain
from genomix.training.device import choose_device
from genomix.training.finetune import finetune
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.run_folder import flatten, to_yaml, write_json, write_text
from genomix.training.screen import Screen
from genomix.training.side_by_side import JobFailedError, n_workers, run_side_by_side
from genomix.training.starting_model import finetuned_model
from genomix.training.summary import Summary, headline, markdown_table, summarize
from genomix_data.errors import ConfigError, InputFileError

if TYPE_CHECKING:
    from rich.console import Console

FOLDS = {"cv5": 5, "cv10": 10}


@dataclass(frozen=True)
class Run:
    """One run of a protocol.

    Args:
        name: Of its folder.
        config: With its own seed.
        fold: Of a cross-validation.
        split_seed: Of the splits, which the seeds of a protocol share.
        folder: Where it is written.
        command: Command line, for provenance.
    """

    name: str
    config: FinetuneConfig
    fold: int
    split_seed: int
    folder: Path
    command: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"{self.config.task} {self.name}" if self.config.task else self.name


@dataclass(frozen=True)
class NotMade:
    """A run that could not be made.

    Args:
        run: The run.
        error: Why.
    """

    run: Run
    error: str

    def __str__(self) -> str:
        """What a person is told, in one line."""
        return f"{self.run.label}: {' '.join(self.error.split())}"


def runs_of(
    config: FinetuneConfig, folder: str | os.PathLike[str], command: Sequence[str] | None = None
) -> list[Run]:
    """Return the runs of a config, in order; a single one stands in the folder itself."""
    first = config.trainer.seed
    folds = FOLDS.get(config.protocol)
    runs: list[Run] = []
    for fold in range(folds or 1):
        for number in range(config.seeds):
            seed = first + number
            name = f"seed-{seed}" if folds is None else f"fold-{fold + 1}"
            if folds is not None and config.seeds > 1:
                name += f"-seed-{seed}"
            own = replace(config, seeds=1, trainer=replace(config.trainer, seed=seed))
            runs.append(
                Run(
                    name,
                    own,
                    fold,
                    first,
                    Path(folder) / "runs" / name,
                    None if command is None else tuple(command),
                )
            )
    if len(runs) == 1:
        runs = [replace(runs[0], folder=Path(folder))]
    return runs


def run_protocol(
    config: FinetuneConfig,
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
    progress: "bool | Console" = True,
) -> Summary:
    """Make the runs of a config that are not there yet, side by side where there is room, and return what they say.

    A run that could not be made does not keep the others from being made; the summary names it. The next call tries it
    again.

    Args:
        config: What to run, with its protocol and seeds.
        output: Folder to write.
        overwrite: Make all runs anew; otherwise those that are there, of the same settings, are taken as they are.
        command: Command line, for provenance.
        progress: A rich console to speak through; True makes one on stderr, False says nothing.

    Raises:
        GenomixError: for input that does not fit, or if none of the runs could be made.
        KeyboardInterrupt: on SIGINT; runs that were finished are kept, and taken up by the next call.
    """
    runs = runs_of(config, output, command)
    if len(runs) > 1 and (Path(output) / "model").exists():
        raise InputFileError(
            f"the folder {str(output)!r} holds a single run, and {len(runs)} are asked for, whose summary would stand "
            "among its files. Choose another folder."
        )
    every = list(make_runs(runs, overwrite=overwrite, progress=progress))
    failed = [done for done in every if isinstance(done, NotMade)]
    if len(failed) == len(runs):
        others = f" (nor could any other of the {len(runs)} runs be made)" if len(runs) > 1 else ""
        raise JobFailedError(f"{failed[0]}{others}")
    return write_summary(config, runs, output, failed)


def make_runs(
    runs: Sequence[Run], *, overwrite: bool = False, progress: "bool | Console" = True
) -> Iterator[Run | NotMade]:
    """Make the runs that are not there yet; yield each as it comes: what is there, and what could not be made.

    Raises:
        InputFileError: if a folder holds a run of other settings.
    """
    screen = Screen(progress)
    missing: list[Run] = []
    finished: list[Run] = []
    for run in runs:
        is_done = not overwrite and _is_finished(run)
        (finished if is_done else missing).append(run)
    if finished:
        screen.say(f"{len(finished):,} of {len(runs):,} runs are finished and taken as they are", style="dim")
        yield from finished
    if not missing:
        return
    device = choose_device(missing[0].config.trainer)
    workers = n_workers(missing[0].config.trainer.workers, len(missing), device)
    screen.say(
        f"{len(missing):,} runs on {device.type}, {workers} at a time"
        if workers > 1
        else f"{len(missing):,} runs on {device.type}, one after the other"
    )
    with screen.bar("runs", len(missing), "run") as bar:
        for n_done, done in enumerate(run_side_by_side(_make, missing, workers), start=1):
            if done.error:
                screen.say(f"  {done.job.label}: {done.error}", style="red")
                yield NotMade(done.job, done.error)
            else:
                record = read_run(done.job.folder)
                values = "  ".join(
                    f"{name} {value:.4f}" for name, value in headline(record) if value is not None
                )
                screen.say(f"  {done.job.label}: {values}  ({record.result['seconds']:.0f} s)")
                yield done.job
            bar.update(n_done, {})


def write_summary(
    config: FinetuneConfig,
    runs: Sequence[Run],
    output: str | os.PathLike[str],
    failed: Sequence[NotMade] = (),
) -> Summary:
    """Return what finished runs say together; with several, it is written beside them.

    Args:
        config: Of the runs.
        runs: All of them.
        output: Folder to write.
        failed: Those that could not be made; not all of them.
    """
    not_made = {each.run.name: each for each in failed}
    made = [run for run in runs if run.name not in not_made]
    records = [read_run(run.folder) for run in made]
    summary = summarize(
        config,
        [run.name for run in made],
        records,
        failed=[(run.name, not_made[run.name].error) for run in runs if run.name in not_made],
    )
    if len(runs) > 1:
        folder = Path(output)
        # of a checkpoint's model the runs know what it is; asked for was its folder alone
        settings = plain(config) | {"model": records[0].result["provenance"]["config"]["model"]}
        write_text(folder / "config.yaml", to_yaml(settings))
        write_json(folder / "result.json", summary.to_dict())
        write_text(folder / "table.md", markdown_table([summary], summary.not_made))
    return summary


def _make(run: Run) -> None:
    """Make one run; called in a process of its own where several are made at once."""
    finetune(
        run.config,
        run.folder,
        overwrite=True,
        command=run.command,
        progress=False,
        fold=run.fold,
        split_seed=run.split_seed,
    )


def _is_finished(run: Run) -> bool:
    """Return whether a run of the same settings is in its folder.

    Raises:
        InputFileError: if one of other settings is.
    """
    path = run.folder / "result.json"
    if not path.exists():
        if run.folder.is_dir() and any(run.folder.iterdir()):
            raise InputFileError(
                f"the folder {str(run.folder)!r} is not empty and holds no finished run. Replace it with --overwrite, "
                "or choose another one."
            )
        return False
    before = json.loads(path.read_text()).get("provenance", {})
    try:
        # Settings that the version of that run did not have are as they are by default.
        config = build(FinetuneConfig, before.get("config", {}))
    except ConfigError as error:
        raise InputFileError(
            f"the folder {str(run.folder)!r} holds a run of settings that this version does not read ({error}). "
            "Replace it with --overwrite, or choose another one."
        ) from error
    old = {**_settings(config, before.get("init_sha256")), "fold": before.get("fold", 0)}
    new = {**_settings(*_as_run(run.config)), "fold": run.fold}
    different = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    if different:
        key = different[0]
        raise InputFileError(
            f"the folder {str(run.folder)!r} holds a run of other settings ({key} was {old.get(key)} and is "
            f"{new.get(key)}). Replace it with --overwrite, or choose another one."
        )
    return True


def _as_run(config: FinetuneConfig) -> tuple[FinetuneConfig, str | None]:
    """Return the settings with the model of the checkpoint, and the hash of its weights.

    Raises:
        GenomixError: if the checkpoint cannot be used.
    """
    if config.model.init is None:
        return config, None
    model, sha256 = finetuned_model(config.model)
    return replace(config, model=model), sha256


def _settings(config: FinetuneConfig, init_sha256: str | None) -> dict[str, Any]:
    """Return what makes a run what it is, by dotted keys; not where it, its data or its checkpoint lay."""
    flat = {key: value for key, value in flatten(plain(config)).items() if key not in _NOT_COMPARED}
    if config.model.init is not None:
        del flat["model.init"], flat["model.name"]
        flat["SHA-256 of model.init"] = init_sha256
    found: dict[str, Any] = json.loads(json.dumps(flat))
    return found


_NOT_COMPARED = frozenset(
    {"data.root", "trainer.device", "trainer.workers", "trainer.cuda_graphs", "trainer.log_every"}
)
