"""A fine-tuning run as its folder tells it: settings, log, predictions of the test set, what the test shares."""

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from genomix_data.errors import InputFileError
from genomix_data.tables.composition import COLUMNS, Composition

if TYPE_CHECKING:
    from genomix.heads.sequence_model import HeadKind  # which brings torch

CLASS_KINDS = ("classifier", "variant_classifier", "token_classifier")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run left behind.

    Attributes:
        folder: The run.
        result: ``result.json``.
        kind: What the outputs mean; see `genomix.heads.sequence_model.HeadKind`.
        names: Of the classes, labels or targets.
        log: ``metrics.csv``: a column each; NaN where a cell is empty.
        scores: Probabilities of the classes or labels, or predicted numbers, ``(n, C)``.
        labels: Class of each row, of classifiers; -1 where there is none.
        targets: Labels (0, 1) or numbers, ``(n, C)``, of other heads; NaN where one is not known.
        sequence: Of each row, the test sequence that it is of, from 0; of heads of single bases many rows share one.
        near_copy: Whether the sequence of each row has a near copy in training; None where it is not known.
        composition: Of each test sequence; None where the run did not write it.
        leakage: ``leakage.json``, or None.
    """

    folder: Path
    result: Mapping[str, Any]
    kind: "HeadKind"
    names: tuple[str, ...]
    log: Mapping[str, Float64[np.ndarray, " E"]]
    scores: Float64[np.ndarray, "n C"]
    labels: Int64[np.ndarray, " n"]
    targets: Float64[np.ndarray, "n C"] | None
    sequence: Int64[np.ndarray, " n"]
    near_copy: Bool[np.ndarray, " n"] | None
    composition: Composition | None
    leakage: Mapping[str, Any] | None

    @property
    def truth(self) -> Int64[np.ndarray, " n"] | Float64[np.ndarray, "n C"]:
        """What ``scores`` are compared with: ``labels`` or ``targets``."""
        return self.labels if self.targets is None else self.targets


def read_run(folder: str | os.PathLike[str]) -> RunRecord:
    """Return what a fine-tuning run left in its folder.

    Raises:
        InputFileError: if it is no such folder, or a file in it is missing, damaged or of another run.
    """
    path = Path(folder)
    result = _json(path / "result.json", path)
    if "test" not in result or "class_names" not in result:
        raise InputFileError(
            f"{str(path)!r} holds a run, but not of one fine-tuning: its result.json has no test metrics."
            f"{_runs_inside(path)} A report is of a folder that genomix finetune wrote."
        )
    kind: HeadKind = result.get("kind", "classifier")
    names = tuple(str(name) for name in result["class_names"])
    predictions = path / "test_predictions.tsv"
    columns = _columns(predictions, path)
    n = len(columns["row"])
    copies = columns.get("near_copy_in_training")
    is_class = kind in CLASS_KINDS
    index = {name: place for place, name in enumerate(names)}
    labels = np.full(n, -1, dtype=np.int64)
    targets = None
    try:
        if is_class:
            labels = np.array(
                [-1 if label == "." else index[label] for label in columns["label"]], dtype=np.int64
            )
        else:
            targets = np.array([_numbers(predictions, columns, name) for name in names]).T
        prefix = "predicted_" if kind == "regressor" else "p_"
        scores = np.array([_numbers(predictions, columns, f"{prefix}{name}") for name in names]).T
        sequence = np.array(_numbers(predictions, columns, "row")).astype(np.int64) - 1
    except KeyError as error:
        raise InputFileError(
            f"{str(predictions)!r} has no column, or result.json no class, that is called "
            f"{error.args[0]!r}. The files are of different runs; run genomix finetune again."
        ) from error
    if not np.isfinite(scores).all():
        raise InputFileError(
            f"{str(predictions)!r} is damaged: {int((~np.isfinite(scores)).sum()):,} predictions are missing or not "
            "finite. Run genomix finetune again."
        )
    log = path / "metrics.csv"
    logged = _columns(log, path)
    return RunRecord(
        folder=path,
        result=result,
        kind=kind,
        names=names,
        log={name: np.array(_numbers(log, logged, name)) for name in logged},
        scores=scores,
        labels=labels,
        targets=targets,
        sequence=sequence,
        near_copy=None if copies is None else np.array([copy == "yes" for copy in copies], dtype=bool),
        composition=_composition(path, int(sequence.max(initial=-1)) + 1),
        leakage=_json(path / "leakage.json", path) if (path / "leakage.json").exists() else None,
    )


def _json(file: Path, folder: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputFileError(
            f"{str(folder)!r} has no {file.name}, so it is no folder of genomix finetune.{_runs_inside(folder)} "
            "Give the folder that was named with -o."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, NotADirectoryError) as error:
        raise InputFileError(f"{str(file)!r} is damaged ({error}); run genomix finetune again.") from error
    if not isinstance(values, dict):
        raise InputFileError(f"{str(file)!r} is damaged: it holds no record. Run genomix finetune again.")
    return values


def _runs_inside(folder: Path) -> str:
    """Return which folders inside are runs, for messages."""
    files = [*folder.glob("*/test_predictions.tsv"), *folder.glob("runs/*/test_predictions.tsv")]
    inside = sorted(str(path.parent) for path in files)
    return (
        f" There are runs in {', '.join(inside[:3])}{' and more' if len(inside) > 3 else ''}."
        if inside
        else ""
    )


def _columns(file: Path, folder: Path) -> dict[str, list[str]]:
    if not file.exists():
        raise InputFileError(
            f"{str(folder)!r} has no {file.name}; a report needs it. Run genomix finetune again."
        )
    with file.open(newline="", encoding="utf-8") as handle:
        # tab-separated tables are written as they are: a quotation mark in a class name is part of it
        rows = list(
            csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
            if file.suffix == ".tsv"
            else csv.reader(handle)
        )
    if len(rows) < 2 or any(len(row) != len(rows[0]) for row in rows):
        raise InputFileError(f"{str(file)!r} has no rows, or rows of unequal length; it is damaged.")
    return {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}


def _numbers(file: Path, columns: Mapping[str, Sequence[str]], name: str) -> list[float]:
    try:
        return [math.nan if cell in ("", ".", "nan") else float(cell) for cell in columns[name]]
    except ValueError as error:
        raise InputFileError(
            f"{str(file)!r} is damaged: a number is expected in its column {name!r} ({error}). "
            "Run genomix finetune again."
        ) from error


def _composition(folder: Path, n_sequences: int) -> Composition | None:
    file = folder / "test_composition.tsv"
    if not file.exists():
        return None
    columns = _columns(file, folder)
    if len(columns["row"]) != n_sequences or not set(COLUMNS) <= columns.keys():
        raise InputFileError(
            f"{str(file)!r} has {len(columns['row'])} rows, but the test had {n_sequences} sequences. The files are of "
            "different runs; run genomix finetune again."
        )
    return Composition(*(np.array(_numbers(file, columns, name)) for name in COLUMNS))
