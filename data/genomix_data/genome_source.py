"""What a `Genome` reads from: one file, whatever its format, and which files a path stands for."""

import gzip
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from genomix_data import bgzf
from genomix_data.errors import InputFileError

GenomePath = str | os.PathLike[str]

FASTA_SUFFIXES = (".fa", ".fasta", ".fna", ".fas")
RECORD_SUFFIXES = (".gb", ".gbk", ".gbff", ".genbank", ".embl")
TWOBIT_MAGIC = (b"\x43\x27\x41\x1a", b"\x1a\x41\x27\x43")
_DIGITS = re.compile(r"(\d+)")


class GenomeSource(Protocol):
    """The contigs of one file.

    Safe in worker processes and threads, and picklable: each process and thread opens the file for itself.
    """

    path: Path
    contigs: dict[str, int]
    aliases: dict[str, str]
    """Other names that the file itself has for its contigs."""

    def read(self, name: str, start: int, end: int) -> bytes:
        """Return the letters of a contig; ``0 <= start <= end <= length`` is the caller's promise."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def open_source(path: Path) -> GenomeSource:
    """Return the contigs of a file, by what is in it: FASTA (plain, bgzip), 2bit, GenBank or EMBL.

    Raises:
        InputFileError: if the file is missing, damaged, or of no format that is known.
    """
    if (path / "store.json").is_file():
        from genomix_data.token_store.source import StoreSource

        return StoreSource(path)
    head = _head(path)
    if head.startswith(TWOBIT_MAGIC):
        from genomix_data.twobit import TwoBitSource

        return TwoBitSource(path)
    if is_record_file(head):
        from genomix_data.genbank import RecordSource

        return RecordSource(path)
    from genomix_data.fasta import FastaSource

    return FastaSource(path)


def is_record_file(head: bytes) -> bool:
    """Tell whether uncompressed text that begins with ``head`` is GenBank or EMBL."""
    return re.match(rb"\s*(?:LOCUS {2,}|ID {3})\S", head) is not None


def genome_files(path: GenomePath | Sequence[GenomePath]) -> list[Path]:
    """Return the files that make up a genome, as absolute paths: of a folder, all sequence files in natural order.

    Args:
        path: A file, a folder, or several of either.

    Raises:
        InputFileError: if a folder has no sequence file, or no path is given.
    """
    parts = [path] if isinstance(path, str | os.PathLike) else list(path)
    if not parts:
        raise InputFileError("a genome needs at least one file; none was given.")
    files: list[Path] = []
    for part in parts:
        # Workers may start in another folder.
        place = Path(part).absolute()
        files += _in_folder(place) if place.is_dir() and not (place / "store.json").is_file() else [place]
    return files


def _in_folder(folder: Path) -> list[Path]:
    found = [file for file in folder.iterdir() if _is_sequence_name(file.name) and file.is_file()]
    if not found:
        raise InputFileError(
            f"folder {str(folder)!r} holds no genome: no file ends in {' '.join(FASTA_SUFFIXES)} (or with .gz), .2bit, "
            f"{' '.join(RECORD_SUFFIXES)}. Give a FASTA file."
        )
    return sorted(found, key=lambda file: _natural(file.name))


def _is_sequence_name(name: str) -> bool:
    lower = name.lower()
    bare = lower.removesuffix(".gz").removesuffix(".bgz")
    return not name.startswith(".") and (
        lower.endswith(".2bit") or bare.endswith(FASTA_SUFFIXES + RECORD_SUFFIXES)
    )


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(name)]


def _head(path: Path, size: int = 256) -> bytes:
    """Return the first bytes of a file, uncompressed; nothing where it cannot be read, which the format will say."""
    if not path.is_file():  # a pipe would wait, and lose what is read
        return b""
    try:
        with path.open("rb") as stream:
            head = stream.read(size)
            if not bgzf.is_gzip(head):
                return head
            stream.seek(0)
            with gzip.GzipFile(fileobj=stream) as text:
                return text.read(size)
    except (OSError, EOFError, zlib.error):
        return b""
