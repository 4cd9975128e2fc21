"""The folder of a pretraining run, and the checkpoints in it.

    config.yaml     what was run, every setting
    metrics.csv     loss, learning rate and speed over the steps
    checkpoints/    last.ckpt to resume from, last-1.ckpt before it, best.ckpt by validation; folders last, last-1, best
                    where several processes made the run
    model/          the final native checkpoint
    result.json     held-out bits per base, baseline, speed, provenance

A checkpoint is a mapping of tensors, numbers and strings, written with `torch.save` and read back with
``weights_only=True``: nothing in it can run code. Together with the config it is the whole state of a run, because
data order, dropout and learning rate are pure functions of the seed and the step.
"""

import csv
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from genomix_data.atomic import atomic_file, require_writable
from genomix_data.errors import CheckpointError, ConfigError, InputFileError

CHECKPOINT_FORMAT = 1

METRICS_COLUMNS = (
    "step",
    "epoch",
    "loss",
    "bits_per_base",
    "lr",
    "grad_norm",
    "tokens_per_second",
    "valid_bits_per_base",
)


class RunFolder:
    """Paths of a run, and what is written under them.

    Args:
        path: The folder; made by `prepare`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.csv"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.tensorboard = self.path / "tensorboard"
        self.wandb = self.path / "wandb"
        self.model = self.path / "model"
        self.result = self.path / "result.json"

    def check_free(self, *, overwrite: bool) -> None:
        """Check, before any work, that a new run may be written here.

        Raises:
            InputFileError: if the folder holds something and ``overwrite`` is not set, or is a file, or belongs to
                something that is not a run, or cannot be written to.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputFileError(f"the output {str(self.path)!r} is a file; give the name of a folder.")
        require_writable(self.config)
        present = sorted(item.name for item in self.path.iterdir()) if self.path.exists() else []
        if not present:
            return
        if not overwrite:
            resume = " continue it with --resume," if any(self.checkpoints.glob("last*")) else ""
            raise InputFileError(
                f"the output folder {str(self.path)!r} is not empty:{resume} replace it with --overwrite, "
                "or choose another one."
            )
        if not self.config.exists():
            raise InputFileError(
                f"the output folder {str(self.path)!r} holds files, but no run of genomix; --overwrite will not "
                "remove them. Choose another folder."
            )

    def prepare(self, config_yaml: str) -> None:
        """Make the folder for a new run; the files of an earlier run in it go."""
        for stale_folder in (self.checkpoints, self.tensorboard, self.wandb):
            if stale_folder.is_dir():
                shutil.rmtree(stale_folder)
        self.checkpoints.mkdir(parents=True)
        for stale in (self.metrics, self.result):
            stale.unlink(missing_ok=True)
        if self.model.is_dir():
            for item in self.model.iterdir():
                item.unlink()
            self.model.rmdir()
        write_text(self.config, config_yaml)

    def checkpoint(self, number: int) -> Path:
        """Return the path of a checkpoint: 0 is the newest, 1 the one before."""
        return self.last if number == 0 else self.checkpoints / f"last-{number}.ckpt"

    def clean(self) -> None:
        """Remove what a run that was killed has left half-written."""
        for pattern in ("checkpoints/.*.ckpt.*", ".metrics.csv.*", ".result.json.*", ".model.*"):
            for scratch in self.path.glob(pattern):
                shutil.rmtree(scratch, ignore_errors=True)

    def read_config(self) -> dict[str, Any]:
        """Return the settings of the run that is in the folder.

        Raises:
            ConfigError: if there is none.
        """
        try:
            values = yaml.safe_load(self.config.read_text())
        except FileNotFoundError as error:
            raise ConfigError(
                f"there is no run to continue in {str(self.path)!r}: it has no config.yaml. "
                "Leave out --resume to begin one."
            ) from error
        except yaml.YAMLError as error:
            raise ConfigError(
                f"{str(self.config)!r} is not YAML; it should be the settings of a run."
            ) from error
        if not isinstance(values, dict):
            raise ConfigError(f"{str(self.config)!r} holds no settings; it should be those of a run.")
        return values

    def start_metrics(self, *, keep_up_to: int) -> None:
        """Begin metrics.csv; rows of an earlier part of the run stay up to and with step ``keep_up_to``."""
        rows = [row for row in self.read_metrics() if int(row["step"]) <= keep_up_to]
        with atomic_file(self.metrics) as temporary, temporary.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, METRICS_COLUMNS)
            writer.writeheader()
            writer.writerows(rows)

    def add_metrics(self, row: Mapping[str, float | int | str]) -> None:
        """Add one row to metrics.csv; columns that are not given stay empty."""
        with self.metrics.open("a", newline="") as handle:
            csv.DictWriter(handle, METRICS_COLUMNS, restval="").writerow(row)

    def read_metrics(self) -> list[dict[str, str]]:
        """Return the rows of metrics.csv; none where there is no such file."""
        if not self.metrics.exists():
            return []
        with self.metrics.open(newline="") as handle:
            return list(csv.DictReader(handle))

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json."""
        write_json(self.result, result)


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that the file is whole at every moment."""
    with atomic_file(path) as temporary, temporary.open("wb") as handle:
        torch.save({"format": CHECKPOINT_FORMAT, **state}, handle)
        handle.flush()
        os.fsync(handle.fileno())  # before it takes the name of the one before, should the machine stop


def load_checkpoint(path: Path, required: Iterable[str] = ()) -> dict[str, Any]:
    """Return the state that `save_checkpoint` wrote, on the CPU.

    Raises:
        CheckpointError: if the file is missing, damaged or no checkpoint of a run.
    """
    try:
        _check_sums(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{str(path)!r} does not exist; the run stopped before its first checkpoint. Start it again."
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{str(path)!r} is damaged or no checkpoint of a run ({type(error).__name__})."
        ) from error
    if not isinstance(state, dict) or not {"format", *required} <= state.keys():
        raise CheckpointError(f"{str(path)!r} is not a checkpoint of a pretraining run.")
    if state["format"] != CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{str(path)!r} has format {state['format']}, this genomix knows {CHECKPOINT_FORMAT}. "
            "Continue the run with the version that began it."
        )
    return state


def _check_sums(path: Path) -> None:
    """Check the checksum of every part of a file, which torch writes and does not look at.

    Raises:
        BadZipFile: if one is wrong, or the file is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        wrong = archive.testzip()
    if wrong is not None:
        raise zipfile.BadZipFile(f"{wrong} has another checksum")


CHANGEABLE = frozenset(
    {
        "trainer.max_steps",
        "trainer.max_seconds",
        "trainer.patience",
        "trainer.recompute",
        "trainer.score_precision",
        "trainer.tensorboard",
        "trainer.wandb",
        "trainer.log_every",
        "trainer.validate_every",
        "trainer.checkpoint_every",
        "trainer.keep_checkpoints",
        "trainer.device",
    }
    | {"trainer.markov_order", "data.num_workers", "data.valid_windows"}
    | {"parallel.data", "parallel.shard", "parallel.context", "parallel.strategy"}
)
"""Settings that a resumed run may change: none of them touches a step that was already made."""


def check_same_run(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Check that a resumed run has the settings of the run that it continues.

    Raises:
        ConfigError: naming the first setting that differs and may not.
    """
    old, new = flatten(before), flatten(after)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key) and key not in CHANGEABLE:
            raise ConfigError(
                f"this run was begun with {key}={old.get(key)}, and --resume cannot change it to {new.get(key)}. "
                "Leave it out, or start a new run in another folder."
            )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values as one mapping with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        flat.update(flatten(value, path) if isinstance(value, Mapping) else {path: value})
    return flat


def to_yaml(values: Mapping[str, Any]) -> str:
    """Return values as YAML, in their order."""
    return str(yaml.safe_dump(dict(values), sort_keys=False, width=100))


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all; numbers that are not finite are refused."""
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")
