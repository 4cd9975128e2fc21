"""Embeddings as files: ``.npz`` for numpy, ``.parquet`` for tables, which is written as the rows come."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genomix_data.atomic import atomic_file
from genomix_data.errors import ConfigError

ROWS_AT_ONCE = 4096


class EmbeddingRow(NamedTuple):
    """One row: what it stands for (0-based, half-open, on the forward strand) and its values in fp32."""

    name: str
    start: int
    end: int
    values: NDArray[np.float32]


def write_embeddings(
    path: str | os.PathLike[str], rows: Iterable[EmbeddingRow], about: Mapping[str, str]
) -> None:
    """Write rows to ``path``, by its suffix.

    An ``.npz`` has arrays ``embeddings`` (rows, D), ``name``, ``start``, ``end`` and ``about``, a JSON text; its rows
    are collected in memory. A ``.parquet`` has the columns ``name``, ``start``, ``end``, ``embedding``, and ``about``
    in its metadata under ``genomix``.

    Raises:
        ConfigError: if the suffix is another, or ``.parquet`` is asked for and pyarrow is not installed.
    """
    suffix = Path(path).suffix
    if suffix not in (".npz", ".parquet"):
        raise ConfigError(
            f"{str(path)!r}: embeddings are written as .npz or .parquet; choose one of these suffixes."
        )
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise ConfigError("Parquet needs pyarrow: pip install 'genomix-fm[parquet]', or write an .npz.")
    with atomic_file(path) as temporary:
        if suffix == ".npz":
            _write_npz(temporary, rows, about)
        else:
            _write_parquet(temporary, rows, about)


def _write_npz(path: Path, rows: Iterable[EmbeddingRow], about: Mapping[str, str]) -> None:
    collected = list(rows)
    np.savez(
        path,
        embeddings=np.stack([row.values for row in collected]),
        name=np.array([row.name for row in collected]),
        start=np.array([row.start for row in collected], dtype=np.int64),
        end=np.array([row.end for row in collected], dtype=np.int64),
        about=np.array(json.dumps(dict(about))),
    )


def _write_parquet(path: Path, rows: Iterable[EmbeddingRow], about: Mapping[str, str]) -> None:
    # imported by name, so that type checking needs no pyarrow
    pa, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    schema = pa.schema(
        [
            ("name", pa.string()),
            ("start", pa.int64()),
            ("end", pa.int64()),
            ("embedding", pa.list_(pa.float32())),
        ],
        metadata={"genomix": json.dumps(dict(about))},
    )
    with parquet.ParquetWriter(path, schema) as writer:
        for some in _in_groups(iter(rows)):
            names, starts, ends, values = zip(*some, strict=True)
            flat = pa.array(np.concatenate(values))
            offsets = np.arange(0, len(flat) + 1, len(values[0]), dtype=np.int32)
            lists = pa.ListArray.from_arrays(offsets, flat)
            writer.write_table(pa.table([list(names), list(starts), list(ends), lists], schema=schema))


def _in_groups(rows: Iterator[EmbeddingRow]) -> Iterator[list[EmbeddingRow]]:
    while some := list(islice(rows, ROWS_AT_ONCE)):
        yield some
