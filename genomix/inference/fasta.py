"""Sequences of a FASTA one after the other, without an index: a file, compressed or not, or standard input."""

import os
import sys
from collections.abc import Iterable, Iterator

from genomix_data.errors import InputFileError
from genomix_data.text_input import open_text


def read_fasta(path: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """Yield name (the header up to the first blank) and letters of each record; case is kept.

    Args:
        path: The file; ``-`` is standard input.

    Raises:
        InputFileError: if it cannot be read, is no FASTA, or has a record without letters.
    """
    if str(path) == "-":
        yield from _records(sys.stdin, "standard input")
        return
    with open_text(path, "FASTA") as text:
        yield from _records(text, str(path))


def _records(lines: Iterable[str], source: str) -> Iterator[tuple[str, str]]:
    name: str | None = None
    pieces: list[str] = []
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        if stripped.startswith(">"):
            if name is not None:
                yield _record(name, pieces, source)
            name, pieces = (stripped[1:].split() or [f"record{number}"])[0], []
        elif stripped:
            if name is None:
                raise InputFileError(
                    f"{source}:{number}: a FASTA begins with '>name'; this line is {stripped[:20]!r}."
                )
            pieces.append(stripped)
    if name is None:
        raise InputFileError(f"{source} has no FASTA record in it. Check the file.")
    yield _record(name, pieces, source)


def _record(name: str, pieces: list[str], source: str) -> tuple[str, str]:
    letters = "".join(pieces)
    if not letters:
        raise InputFileError(f"{source}: the record '>{name}' has no letters. Remove it or fill it.")
    return name, letters
