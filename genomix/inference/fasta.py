"""Sequences of a FASTA one after the other, without an index: a file, compressed or not, or standard input."""

import os
import sys
from collections.abc import Iterable, Iterator

from genomix_data.alphabet import find_non_iupac
from genomix_data.errors import InputFileError
from genomix_data.text_input import open_text


def read_fasta(path: str | os.PathLike[str], *, any_letters: bool = False) -> Iterator[tuple[str, str]]:
    """Yield name (the header up to the first blank) and letters of each record; case is kept.

    Args:
        path: The file; ``-`` is standard input.
        any_letters: Take letters that are no nucleotide codes, too: prompts of byte models may hold some.

    Raises:
        InputFileError: if it cannot be read, is no FASTA, or has a record without letters or with letters that are no
            nucleotide codes.
    """
    if str(path) == "-":
        yield from _checked(_records(sys.stdin, "standard input"), "standard input", any_letters)
        return
    with open_text(path, "FASTA") as text:
        yield from _checked(_records(text, str(path)), str(path), any_letters)


def require_nucleotides(letters: str, what: str) -> None:
    """Raise an InputFileError if ``letters`` of ``what`` are not all nucleotide codes."""
    offset = find_non_iupac(letters.encode("latin-1", "replace"))
    if offset is not None:
        raise InputFileError(
            f"{what}: {letters[offset]!r} at position {offset + 1:,} is not a nucleotide code (A, C, G, T, U, N and "
            "the other IUPAC letters). Write an unknown base as N, and leave out gaps and proteins."
        )


def _checked(records: Iterable[tuple[str, str]], source: str, any_letters: bool) -> Iterator[tuple[str, str]]:
    for name, letters in records:
        if not any_letters:
            require_nucleotides(letters, f"{source}: the record '>{name}'")
        yield name, letters


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
