"""Random access to the bases of a FASTA file, plain or compressed with bgzip.

Letters come back as the file has them: case kept, IUPAC codes kept, U (RNA) kept. Coordinates are 0-based, half-open.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pysam

from genomix_data.alphabet import require_iupac, reverse_complement
from genomix_data.contigs import ContigNames, read_contig_map
from genomix_data.errors import GenomixError, InputFileError, ReferenceMismatchError, preview
from genomix_data.index_files import open_index
from genomix_data.interval import Interval

logger = logging.getLogger(__name__)

_BLOCK = 1 << 24


class Genome:
    """The contigs of a FASTA, to be read at any place.

    Safe in worker processes: each process and thread opens the file for itself, and a pickled genome reopens it.
    A missing or stale index is built in one pass, which also checks every letter of the file.

    Args:
        path: FASTA, plain or bgzip (`.fa`, `.fa.gz`).
        contig_map: Other names of the contigs: a dictionary, or a file for `read_contig_map`. ``chr1``/``1`` and
            ``chrM``/``MT`` need no map.

    Raises:
        InputFileError: if the file is missing, empty, not FASTA, plain gzip, truncated, has a contig twice, uneven
            lines or letters outside the IUPAC code, or needs an index that cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        contig_map: Mapping[str, str] | str | os.PathLike[str] | None = None,
    ) -> None:
        self.path = Path(path)
        # Workers may start in another folder.
        self._file = self.path.absolute()
        self._index = open_index(self._file)
        self.contigs: dict[str, int] = {entry.name: entry.length for entry in self._index.entries}
        aliases = (
            contig_map
            if isinstance(contig_map, Mapping) or contig_map is None
            else read_contig_map(contig_map)
        )
        self.names = ContigNames(self.contigs, aliases)
        self._md5: dict[str, str] = {}
        self._closed = False
        self._local = threading.local()

    def fetch(self, chrom: str, start: int, end: int) -> bytes:
        """Return the bases ``start`` up to ``end`` of a contig.

        Args:
            chrom: Contig name in any spelling that `names` resolves.
            start: 0-based, inclusive.
            end: 0-based, exclusive; at most the length of the contig.

        Raises:
            ReferenceMismatchError: if the contig is not there, or the coordinates reach outside it.
            GenomixError: if a letter is not a nucleotide code; the contig and the 1-based position are named.
        """
        name = self.resolve(chrom)
        length = self.contigs[name]
        if not 0 <= start <= end <= length:
            raise ReferenceMismatchError(
                f"{chrom} start={start} end={end} (0-based, half-open) is outside the contig: {name} has {length:,} bp "
                f"in {self.path.name}. Check that the coordinates belong to this assembly."
            )
        return self._read(name, start, end)

    def fetch_interval(self, interval: Interval) -> bytes:
        """Return the bases of an interval, as the reverse complement where its strand is ``-``."""
        bases = self.fetch(interval.chrom, interval.start, interval.end)
        return reverse_complement(bases) if interval.strand == "-" else bases

    def fetch_window(self, chrom: str, start: int, end: int, pad: bytes = b"N") -> bytes:
        """Return ``end - start`` letters: the bases, with ``pad`` where the window lies outside the contig.

        Args:
            chrom: Contig name in any spelling that `names` resolves.
            start: 0-based, inclusive; may be negative.
            end: 0-based, exclusive; may lie beyond the contig.
            pad: One letter.
        """
        if end < start or len(pad) != 1:
            raise GenomixError(
                f"window {chrom} start={start} end={end} with pad={pad!r}: needs start <= end, one letter."
            )
        name = self.resolve(chrom)
        length = self.contigs[name]
        left, right = min(max(start, 0), length), min(max(end, 0), length)
        n_before = min(max(-start, 0), end - start)
        bases = self._read(name, left, right)
        return (pad * n_before + bases).ljust(end - start, pad)

    def resolve(self, chrom: str) -> str:
        """Return the name that the FASTA has for a contig.

        Raises:
            ReferenceMismatchError: if it has none, or more than one that could be meant.
        """
        name = self.names.resolve(chrom)
        if name is not None:
            return name
        candidates = self.names.candidates(chrom)
        if candidates:
            raise ReferenceMismatchError(
                f"contig {chrom!r} could be any of {preview(candidates)} in {self.path.name}. Use the exact name."
            )
        closest = self.names.suggest(chrom)
        hint = f"Did you mean {closest!r}? " if closest else ""
        raise ReferenceMismatchError(
            f"contig {chrom!r} is not in {self.path.name}; it has {preview(self.contigs)}. {hint}"
            "'chr' and 'M'/'MT' are translated already; other names need a contig map (two columns)."
        )

    def md5(self, chrom: str) -> str:
        """Return the MD5 of a contig's letters in upper case, as in the M5 tag of a SAM header; kept once computed."""
        name = self.resolve(chrom)
        if name not in self._md5:
            digest = hashlib.md5(usedforsecurity=False)
            for start in range(0, self.contigs[name], _BLOCK):
                digest.update(self._read(name, start, min(start + _BLOCK, self.contigs[name])).upper())
            self._md5[name] = digest.hexdigest()
        return self._md5[name]

    def fingerprint(self, *, content: bool = False) -> dict[str, Any]:
        """Return what tells this genome from another: file name and size, contigs and their lengths.

        Args:
            content: Add the MD5 of every contig, which reads the whole file.
        """
        table = "".join(f"{name}\t{length}\n" for name, length in self.contigs.items())
        record: dict[str, Any] = {
            "file": self.path.name,
            "file_size": self._file.stat().st_size,
            "n_contigs": len(self.contigs),
            "n_bases": sum(self.contigs.values()),
            "contigs_sha256": hashlib.sha256(table.encode()).hexdigest(),
            "contigs": dict(self.contigs),
        }
        if content:
            record["md5"] = {name: self.md5(name) for name in self.contigs}
        return record

    def close(self) -> None:
        """Let go of the file; further reading raises."""
        self._closed = True
        self._local = threading.local()

    def _read(self, name: str, start: int, end: int) -> bytes:
        if start == end:
            return b""
        try:
            bases: bytes = self._handle().fetch(name, start, end).encode("latin-1")
        except (OSError, ValueError, KeyError) as error:
            raise InputFileError(
                f"{str(self.path)!r} cannot be read at {name}:{start + 1}-{end}: {error}. "
                "Is the file complete? Remove its index to have it checked and built again."
            ) from error
        if len(bases) != end - start:
            raise InputFileError(
                f"{str(self.path)!r} gave {len(bases)} of {end - start} bases at {name}:{start + 1}-{end}. The file is "
                "cut off or its index is of another file: remove the index and try again."
            )
        return require_iupac(bases, name, start)

    def _handle(self) -> pysam.FastaFile:
        if self._closed:
            raise GenomixError(f"genome {self.path.name} is closed; open it again.")
        # A forked worker inherits the parent's handle, and with it one shared file position.
        if getattr(self._local, "pid", None) != os.getpid():
            gzi = self._index.gzi
            self._local.handle = pysam.FastaFile(
                str(self._file),
                filepath_index=str(self._index.fai),
                filepath_index_compressed=None if gzi is None else str(gzi),
            )
            self._local.pid = os.getpid()
        handle: pysam.FastaFile = self._local.handle
        return handle

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Genome({str(self.path)!r}: {len(self.contigs)} contigs, {sum(self.contigs.values()):,} bp)"
