"""Where the parts of a data set are in a folder: which files are training, validation and test."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genomix_data.errors import InputFileError, preview

Kind = Literal["sequence files", "coordinates", "tables"]

PARTS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test",),
}
WHOLE = "all"
"""The part of a data set that was published without a split."""

_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".fa", ".fasta", ".fna", ".vcf", ".bcf")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a data set lies on the disk.

    Args:
        kind: One sequence a file in class folders; one table of coordinates a class; or one table a part.
        files: For tables, the file of each part.
    """

    kind: Kind
    files: dict[str, Path]


def find_layout(path: Path, task: str | None = None) -> Layout:
    """Return how the data set at ``path`` lies there.

    Args:
        path: A folder, or a table.
        task: Last part of the name of the data set: where a folder holds several sets, files whose names have it.

    Raises:
        InputFileError: if nothing there is a data set, or a part could be any of several files.
    """
    if not path.exists():
        raise InputFileError(f"{str(path)!r} does not exist. Check the path.")
    if path.is_file():
        return Layout("tables", {part_of(path.name) or WHOLE: path})
    train = path / "train"
    if train.is_dir():
        inside = [item for item in train.iterdir() if not item.name.startswith(".")]
        if any(item.is_dir() for item in inside):
            return Layout("sequence files", {})
        if any(item.name.endswith((".csv", ".csv.gz")) for item in inside):
            return Layout("coordinates", {})
    files = sorted(f for f in path.iterdir() if f.is_file() and _is_table(f.name))
    if task is not None:
        files = [f for f in files if task.lower() in f.name.lower()] or files
    parts = {part: _choose(path, part, [f for f in files if part_of(f.name) == part]) for part in PARTS}
    found = {part: file for part, file in parts.items() if file is not None}
    if found:
        return Layout("tables", found)
    if len(files) == 1:
        return Layout("tables", {WHOLE: files[0]})
    names = [item.name for item in sorted(path.iterdir())]
    raise InputFileError(
        f"{str(path)!r} is no data set that genomix knows: it holds {preview(names) or 'nothing'}. It should hold "
        "train/ and test/ (a folder or a table of coordinates a class), or tables named train, valid or dev, and test; "
        "or give one table."
    )


def part_of(name: str) -> str | None:
    """Return the part that a file name speaks of, or None.

    >>> part_of("layer1.train.csv.gz"), part_of("dev.csv"), part_of("train-00000-of-00001.parquet"), part_of("x.csv")
    ('train', 'valid', 'train', None)
    """
    words = set(re.split(r"[._\-]", name.lower()))
    found = [part for part, spellings in PARTS.items() if words & set(spellings)]
    return found[0] if len(found) == 1 else None


def _is_table(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(_SUFFIXES)


def _choose(folder: Path, part: str, files: list[Path]) -> Path | None:
    if len(files) > 1:
        # test.csv.gz is the test set, even beside subset_chr19.test.csv.gz.
        exact = [file for file in files if file.name.lower().split(".")[0] in PARTS[part]]
        if len(exact) != 1:
            raise InputFileError(
                f"{str(folder)!r}: the {part} part could be any of {preview(file.name for file in files)}. "
                "Leave one, or give the file."
            )
        return exact[0]
    return files[0] if files else None
