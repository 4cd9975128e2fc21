"""A FASTA file, plain or compressed with bgzip, as a source of a `Genome`."""

import os
import threading
from pathlib import Path
from typing import Any

import pysam

from genomix_data.alphabet import require_iupac
from genomix_data.errors import InputFileError
from genomix_data.index_files import open_index


class FastaSource:
    """The contigs of a FASTA.

    A missing or stale index is built in one pass, which also checks every letter of the file.

    Args:
        path: FASTA, plain or bgzip, absolute.

    Raises:
        InputFileError: see `genomix_data.index_files.open_index`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index = open_index(path)
        self.contigs: dict[str, int] = {entry.name: entry.length for entry in self._index.entries}
        self.aliases: dict[str, str] = {}
        self._local = threading.local()

    def read(self, name: str, start: int, end: int) -> bytes:
        """Return the letters as the file has them.

        Raises:
            InputFileError: if the file is damaged or cut off there.
            GenomixError: if a letter is not a nucleotide code; the contig and the 1-based position are named.
        """
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

    def close(self) -> None:
        """Let go of the file; it is opened again when it is read again."""
        self._local = threading.local()

    def _handle(self) -> pysam.FastaFile:
        # A forked worker inherits the parent's handle, and with it one shared file position.
        if getattr(self._local, "pid", None) != os.getpid():
            gzi = self._index.gzi
            self._local.handle = pysam.FastaFile(
                str(self.path),
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
