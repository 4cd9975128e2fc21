"""One pass over a FASTA: its ``.fai`` index, and every fault that would give wrong bases later.

The index is that of ``samtools faidx``: name, length, offset of the first base, bases per line, bytes per line.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from genomix_data.alphabet import IUPAC_ANY_CASE, find_non_iupac
from genomix_data.errors import InputFileError

_LEGAL = IUPAC_ANY_CASE + b"\r\n"
_CHUNK = 1 << 22
_LARGEST_FILE = (1 << 63) - 1
_FOREIGN = {
    b"@": "It looks like FASTQ; convert it with `seqtk seq -A`.",
    b"BZh": "It is bzip2; run `bunzip2` first.",
    b"\xfd7zXZ": "It is xz; run `unxz` first.",
    b"\x28\xb5\x2f\xfd": "It is zstd; run `unzstd` first.",
    b"PK\x03\x04": "It is a zip archive; run `unzip` first.",
    b"\x43\x27\x41\x1a": "It is 2bit; run `twoBitToFa` first.",
}


@dataclass(slots=True)
class FastaEntry:
    """One contig: where its bases lie in the uncompressed text."""

    name: str
    offset: int
    length: int = 0
    line_bases: int = 0
    line_width: int = 0
    ended: bool = field(default=False, repr=False)

    def end_offset(self) -> int:
        """Offset in the text just after the last base."""
        full_lines = (self.length - 1) // self.line_bases
        return self.offset + full_lines * self.line_width + self.length - full_lines * self.line_bases


def scan_fasta(blocks: Iterable[bytes], source: Path) -> list[FastaEntry]:
    """Return the contigs of a FASTA, given its uncompressed text in blocks of any size.

    Raises:
        InputFileError: if the text is empty or not FASTA, a contig comes twice or has no bases, its lines differ
            in length, or a letter is not a nucleotide code (contig and 1-based position are named).
    """
    scanner = _Scanner(source)
    for text in _whole_lines(blocks):
        scanner.read(text)
    return scanner.finish()


def format_fai(entries: Iterable[FastaEntry]) -> bytes:
    """Return the bytes of the ``.fai`` file."""
    rows = ((e.name, e.length, e.offset, e.line_bases, e.line_width) for e in entries)
    return "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()


def parse_fai(data: bytes) -> list[FastaEntry] | None:
    """Return the contigs that a ``.fai`` file lists, or None where it is not a usable index."""
    entries = []
    try:
        for line in data.decode().splitlines():
            name, *numbers = line.split("\t")
            length, offset, line_bases, line_width = map(int, numbers)
            if not name or length < 1 or offset < 2 or not 1 <= line_bases <= line_width:
                return None
            entry = FastaEntry(name, offset, length, line_bases, line_width)
            if entry.end_offset() > _LARGEST_FILE:
                return None
            entries.append(entry)
    except ValueError:
        return None
    return entries or None


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the text in pieces of about 4 MiB that end where a line ends; pieces are joined once, however long."""
    pieces: list[bytes] = []
    held = 0
    for block in blocks:
        pieces.append(block)
        held += len(block)
        if held < _CHUNK or b"\n" not in block:
            continue
        cut = block.rindex(b"\n") + 1
        pieces[-1] = block[:cut]
        yield b"".join(pieces)
        pieces = [block[cut:]]
        held = len(block) - cut
    if held:
        yield b"".join(pieces)


class _Scanner:
    """Contigs met so far, fed with whole lines."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.entries: list[FastaEntry] = []
        self.names: set[str] = set()
        self.offset = 0
        self.line = 1

    def read(self, text: bytes) -> None:
        cursor = 0
        while cursor < len(text):
            if text[cursor : cursor + 1] == b">":
                end = text.find(b"\n", cursor) + 1 or len(text)
                self._begin(text[cursor:end])
            else:
                end = text.find(b"\n>", cursor) + 1 or len(text)
                self._add_lines(text[cursor:end])
            self.offset += end - cursor
            cursor = end

    def finish(self) -> list[FastaEntry]:
        if not self.entries:
            raise InputFileError(
                f"{str(self.source)!r} is empty: there is no sequence in it. Check the file."
            )
        self._require_bases()
        last = self.entries[-1]
        # A file may end without a line end; the index tells what a line would have had.
        last.line_width = max(last.line_width, last.line_bases + 1)
        return self.entries

    def _begin(self, header: bytes) -> None:
        self._require_bases()
        words = header[1:].split(maxsplit=1)
        if not words or header[1:2].isspace():
            raise InputFileError(
                f"{self.source}:{self.line}: the header has no name after '>'. Write it as '>chr1', without a space."
            )
        name = words[0].decode(errors="replace")
        if name in self.names:
            raise InputFileError(
                f"{self.source}:{self.line}: contig {name!r} comes twice in the FASTA. Rename or remove one of "
                "the two; the name is the first word after '>'."
            )
        self.names.add(name)
        self.entries.append(FastaEntry(name, self.offset + len(header)))
        self.line += 1

    def _require_bases(self) -> None:
        if self.entries and self.entries[-1].length == 0:
            raise InputFileError(
                f"{self.source}:{self.line - 1}: contig {self.entries[-1].name!r} has no sequence. "
                "Remove its header, or complete the file."
            )

    def _add_lines(self, body: bytes) -> None:
        if not self.entries:
            self._require_blank(body)
            return
        entry = self.entries[-1]
        self._require_letters(entry, body)
        bases, widths = _line_lengths(body)
        n_lines = bases.size
        if entry.length == 0:
            n_blank = int(np.argmax(bases > 0)) if bases.any() else n_lines
            entry.offset += int(widths[:n_blank].sum())
            bases, widths = bases[n_blank:], widths[n_blank:]
            if bases.size:
                entry.line_bases, entry.line_width = int(bases[0]), int(widths[0])
        self._require_even(entry, bases, widths, n_lines)
        entry.length += int(bases.sum())
        self.line += n_lines

    def _require_even(self, entry: FastaEntry, bases: np.ndarray, widths: np.ndarray, n_lines: int) -> None:
        """Only the last line of a contig may be shorter; blank lines may follow it."""
        full = (bases == entry.line_bases) & (widths == entry.line_width)
        n_full = 0 if entry.ended else int(np.argmin(full)) if not full.all() else full.size
        rest = bases[n_full:]
        allowed = np.zeros(rest.size, dtype=np.int64)
        if rest.size and not entry.ended:
            allowed[0] = entry.line_bases
            entry.ended = True
        too_long = rest > allowed
        if too_long.any():
            line = self.line + n_lines - rest.size + int(np.argmax(too_long))
            raise InputFileError(
                f"{self.source}:{line}: the lines of contig {entry.name!r} have uneven lengths, so it cannot be "
                f"indexed. Rewrite the file with equal lines, for example `seqtk seq -l 60 {self.source.name}`."
            )

    def _require_letters(self, entry: FastaEntry, body: bytes) -> None:
        carriage_returns = body.count(b"\r")
        wrong = body.translate(None, _LEGAL)
        if not wrong and carriage_returns == body.count(b"\r\n") + body.endswith(b"\r"):
            return
        letters = body.translate(None, b"\r\n")
        offset = find_non_iupac(letters)
        if offset is None:
            raise InputFileError(
                f"{self.source}:{self.line}: contig {entry.name!r} holds carriage returns inside its lines. "
                "Convert the line ends, for example with `dos2unix`."
            )
        letter = chr(letters[offset])
        raise InputFileError(
            f"{str(self.source)!r}: {letter!r} at {entry.name}:{entry.length + offset + 1} is not a nucleotide code "
            f"(IUPAC letters, either case). Is it a DNA sequence? Write an unknown base as N."
        )

    def _require_blank(self, body: bytes) -> None:
        if not body.strip():
            self.line += body.count(b"\n")
            return
        hint = next((hint for magic, hint in _FOREIGN.items() if body.startswith(magic)), None)
        raise InputFileError(
            f"{str(self.source)!r} is not FASTA: it begins with {body.lstrip()[:12]!r}, not with '>' and a name. "
            + (hint or "Check the path.")
        )


def _line_lengths(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return the letters in each line, and its bytes with the line end."""
    text = np.frombuffer(body, dtype=np.uint8)
    ends = np.flatnonzero(text == ord("\n")) + 1
    if not body.endswith(b"\n"):
        ends = np.append(ends, text.size)
    widths = np.diff(ends, prepend=0)
    terminator = (text[ends - 1] == ord("\n")).astype(np.int64)
    before = np.maximum(ends - 1 - terminator, 0)
    terminator += (text[before] == ord("\r")) & (widths > terminator)
    return widths - terminator, widths
