"""Parquet tables, through the extra ``parquet`` (pyarrow)."""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from genomix_data.errors import GenomixError, InputFileError

_MAGIC = b"PAR1"


def is_parquet(source: Path) -> bool:
    """Tell whether the file begins as Parquet does, whatever its suffix."""
    if not source.is_file():
        return False
    with source.open("rb") as handle:
        return handle.read(4) == _MAGIC


def parquet_columns(source: Path) -> list[str]:
    """Return the names of the columns."""
    return [str(name) for name in _open(source).schema_arrow.names]


def read_parquet(source: Path, columns: Sequence[int]) -> Iterator[tuple[str, list[str]]]:
    """Yield the place (``file:row``, the first row is 1) and the cells of these columns as text; null is empty.

    Raises:
        InputFileError: if the file is damaged or has no rows.
        GenomixError: if pyarrow is not installed.
    """
    arrow = _arrow(source)
    file = _open(source)
    names = [file.schema_arrow.names[i] for i in columns]
    row = 0
    try:
        for batch in file.iter_batches(columns=sorted(set(names))):
            cells = [[_text(value) for value in batch.column(name).to_pylist()] for name in names]
            for values in zip(*cells, strict=True):
                row += 1
                yield f"{source}:{row}", list(values)
    except (arrow.ArrowException, OSError) as error:
        raise InputFileError(
            f"table {str(source)!r} is damaged: {error}. Copy or download it again."
        ) from error
    if row == 0:
        raise InputFileError(f"table {str(source)!r} has no rows. Check the file.")


def _arrow(source: Path) -> Any:
    # Imported by name, so that type checking needs no pyarrow.
    try:
        return importlib.import_module("pyarrow")
    except ModuleNotFoundError as error:
        raise GenomixError(
            f"{str(source)!r} is a Parquet file, and pyarrow is not installed. Install the extra: "
            "pip install 'genomix-fm[parquet]', or convert the file to CSV."
        ) from error


def _open(source: Path) -> Any:
    arrow = _arrow(source)
    parquet = importlib.import_module("pyarrow.parquet")
    try:
        return parquet.ParquetFile(source)
    except (arrow.ArrowException, OSError) as error:
        raise InputFileError(
            f"table {str(source)!r} is damaged: {error}. Copy or download it again."
        ) from error


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()
