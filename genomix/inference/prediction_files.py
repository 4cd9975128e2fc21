"""Predictions as tables: TSV, or Parquet, by the suffix of the file."""

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from genomix.inference.predict import Predictions
from genomix_data.atomic import atomic_file
from genomix_data.errors import ConfigError

Columns = dict[str, Sequence[Any]]


def prediction_columns(
    predictions: Predictions,
    *,
    truth: NDArray[Any] | None = None,
    near_copies: Sequence[bool] | NDArray[np.bool_] | None = None,
) -> Columns:
    """Return the columns of a table of predictions.

    ``row`` (1-based), what is known of the place, then: of classes ``label`` where it is known, ``predicted`` and
    ``p_CLASS``; of labels ``p_LABEL`` (and ``LABEL``); of numbers ``predicted_TARGET`` (and ``TARGET``). Of single
    bases there is a row for each base, and ``position``, 0-based on the sequence.

    Args:
        predictions: What to write.
        truth: Class indices (negative where there is none), or ``(n, C)`` labels or numbers.
        near_copies: Whether each sequence has a near copy in training; a last column says yes or no.
    """
    names = predictions.class_names
    is_bases = predictions.kind == "token_classifier"
    rows: NDArray[np.int64] = np.arange(len(predictions.lengths or predictions.probabilities))
    columns: Columns = {}
    if is_bases:
        rows = np.repeat(rows, predictions.lengths)
    columns["row"] = (rows + 1).tolist()
    columns |= {name: [values[i] for i in rows] for name, values in predictions.places.items()}
    if is_bases:
        columns["position"] = np.concatenate([np.arange(n) for n in predictions.lengths]).tolist()
    if predictions.kind in ("multilabel", "regressor"):
        if truth is not None:
            columns |= {name: truth[:, place].tolist() for place, name in enumerate(names)}
        prefix = "p_" if predictions.kind == "multilabel" else "predicted_"
    else:
        if truth is not None:
            columns["label"] = [names[label] if label >= 0 else "." for label in truth.tolist()]
        columns["predicted"] = predictions.predicted
        prefix = "p_"
    for place, name in enumerate(names):
        columns[f"{prefix}{name}"] = predictions.probabilities[:, place].tolist()
    if near_copies is not None:
        columns["near_copy_in_training"] = ["yes" if near_copies[i] else "no" for i in rows]
    return columns


def write_tsv(out: TextIO, columns: Columns) -> None:
    """Write columns as tab-separated text with a header; numbers with six digits, what is not known as nothing."""
    out.write("\t".join(columns) + "\n")
    for cells in zip(*columns.values(), strict=True):
        out.write("\t".join(_cell(cell) for cell in cells) + "\n")


def write_predictions_file(path: str | os.PathLike[str], columns: Columns) -> None:
    """Write columns to ``path``, whole or not at all: ``.parquet`` as Parquet, anything else as TSV.

    Raises:
        ConfigError: if Parquet is asked for and pyarrow is not installed.
    """
    is_parquet = Path(path).suffix.lower() == ".parquet"
    if is_parquet and find_spec("pyarrow") is None:
        raise ConfigError("Parquet needs pyarrow: pip install 'genomix-fm[parquet]', or write a .tsv.")
    with atomic_file(path) as temporary:
        if is_parquet:
            # imported by name, so that type checking needs no pyarrow
            import_module("pyarrow.parquet").write_table(
                import_module("pyarrow").table(dict(columns)), temporary
            )
        else:
            with temporary.open("w", encoding="utf-8", newline="\n") as out:
                write_tsv(out, columns)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return str(value)
