"""Where a data set of the registry lies under a folder of data sets."""

import os
from pathlib import Path

from genomix_data.benchmarks.registry import get_benchmark
from genomix_data.errors import InputFileError, preview

_SUFFIXES = (".csv.gz", ".csv", ".tsv.gz", ".tsv", ".parquet", ".fa.gz", ".fa", ".vcf.gz", ".vcf")


def find_benchmark(root: str | os.PathLike[str], name: str) -> Path:
    """Return the folder or file of a data set: ``ROOT/FAMILY/TASK``, ``ROOT/TASK``, a table of that name, or a family
    folder whose files are named after their tasks.

    Args:
        root: Folder of data sets.
        name: As `get_benchmark` knows it.

    Raises:
        ConfigError: if the name is not known.
        InputFileError: if nothing under the folder has the name; it says where was looked.
    """
    info = get_benchmark(name)
    top = Path(root)
    if not top.is_dir():
        raise InputFileError(f"the folder of data sets {str(top)!r} does not exist. Check data.root.")
    family, _, task = info.name.partition("/")
    candidates = [top / family / task, top / task]
    tables = [folder.parent / f"{folder.name}{suffix}" for folder in candidates for suffix in _SUFFIXES]
    for path in (*candidates, *tables):
        if path.exists():
            return path
    for folder in (top / family, top):
        if folder.is_dir() and any(
            task.lower() in item.name.lower() for item in folder.iterdir() if item.is_file()
        ):
            return folder
    raise InputFileError(
        f"data set {info.name!r} is not under {str(top)!r}: there is neither {preview(candidates)} nor a table of that "
        f"name. genomix data info {info.name} says how to get it."
    )
