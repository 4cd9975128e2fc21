"""Checksums of files of benchmark data sets that we have looked at, so that a copy can be recognised."""

import csv
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as it was when its contents were checked.

    Args:
        dataset: Name of the set.
        file: Its name; with the part for a table of coordinates.
        sha256: Of the file as it is on the disk.
        what: ``complete``, ``coordinates``, or which piece of the set it holds.
    """

    dataset: str
    file: str
    sha256: str
    what: str


def known_files(dataset: str | None = None) -> list[KnownFile]:
    """Return the known files of a set, or of all."""
    text = files("genomix_data.benchmarks").joinpath("known_files.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t")
    found = [KnownFile(row["set"], row["file"], row["sha256"], row["what"]) for row in rows]
    return [row for row in found if dataset is None or row.dataset == dataset]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
