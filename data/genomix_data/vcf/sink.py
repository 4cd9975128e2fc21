"""Where output goes: standard output, or a file that appears whole with its index."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import pysam
import pysam.bcftools
from pysam.utils import SamtoolsError

from genomix_data.atomic import atomic_file
from genomix_data.errors import InputFileError
from genomix_data.journal import Journal
from genomix_data.vcf.streams import BgzfWriter

IndexFormat = Literal["csi", "tbi"]
IndexPreset = Literal["vcf", "bcf", "tsv"]


def is_stdout(out: str | os.PathLike[str] | None) -> bool:
    """Return whether ``out`` means standard output."""
    return out is None or str(out) == "-"


class FileSink:
    """Bytes that become a file when the block ends without an error.

    Args:
        out: Path, or ``-`` or None for standard output.
        compress: Write BGZF.
        index: Also write a ``.csi`` or ``.tbi`` beside the file.
        preset: Which columns the index reads: ``vcf``, ``bcf``, or ``tsv`` (contig, 1-based position).
        spool: Collect plain bytes in a scratch file, which `convert` turns into the output.
        journal: Collect plain bytes there, also from an earlier run, and make the output from them at the end.
    """

    def __init__(
        self,
        out: str | os.PathLike[str] | None,
        *,
        compress: bool,
        index: IndexFormat | None = None,
        preset: IndexPreset = "vcf",
        spool: bool = False,
        journal: Journal | None = None,
    ) -> None:
        assert journal is None or not spool, "records that htslib must convert are not kept in a journal"
        self._out = out
        self._compress = compress
        self._index = index
        self._preset = preset
        self._spool = spool
        self._journal = journal
        self._stack = ExitStack()
        self._stream: BinaryIO
        self._bgzf: BgzfWriter | None = None
        self._path: Path | None = None
        self._index_path: Path | None = None
        self._spool_path: Path | None = None
        self._header = b""
        self._seen: set[str] = set()
        self._last = ("", 0)

    def __enter__(self) -> Self:
        if self._journal is None:
            self._open()
        return self

    def _open(self) -> None:
        if not is_stdout(self._out):
            assert self._out is not None
            final = Path(self._out)
            if self._index:
                # Entered first, so renamed last: an index must not be older than its file.
                self._index_path = self._stack.enter_context(atomic_file(f"{final}.{self._index}"))
            self._path = self._stack.enter_context(atomic_file(final))
        if self._spool:
            folder = (
                self._path.parent
                if self._path
                else Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            )
            self._spool_path = folder / "spool"
            self._stream = self._spool_path.open("wb")
        elif self._path:
            self._stream = self._path.open("wb")
        else:
            self._stream = sys.stdout.buffer
        if self._compress:
            self._bgzf = BgzfWriter(self._stream)

    def write_header(self, data: bytes) -> None:
        """Take the header. It goes out with the first record, so that a refused input prints nothing."""
        self._header = data

    def write(self, data: bytes) -> None:
        """Take bytes of the plain output."""
        if self._journal is not None:
            self._journal.write(data)
            return
        if self._header:
            data, self._header = self._header + data, b""
        (self._bgzf or self._stream).write(data)

    def check_order(self, chrom: str, pos: int, where: str) -> None:
        """Raise as soon as a record is out of order, if an index is wanted.

        Raises:
            InputFileError: naming the record.
        """
        if self._index is None:
            return
        last_chrom, last_pos = self._last
        if chrom != last_chrom and chrom in self._seen:
            reason = f"{chrom} comes back after {last_chrom}"
        elif chrom == last_chrom and pos < last_pos:
            reason = f"{chrom}:{pos} comes after {chrom}:{last_pos}"
        else:
            self._seen.add(chrom)
            self._last = (chrom, pos)
            return
        raise InputFileError(
            f"{where}: an index needs sorted records, and {reason}. "
            "Sort the input first (bcftools sort), or leave out -W/--write-index."
        )

    def convert(self, function: Callable[[Path, Path], None]) -> None:
        """Close the spool and let ``function(spool, target)`` make the output from it."""
        assert self._spool_path is not None
        self._stream.close()
        target = self._path or self._spool_path.with_name("converted")
        function(self._spool_path, target)
        if self._path is None:
            with target.open("rb") as handle:
                shutil.copyfileobj(handle, sys.stdout.buffer)
            sys.stdout.buffer.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            try:
                if error is None:
                    if self._journal is not None:
                        self._write_from(self._journal)
                    elif self._header:
                        self.write(b"")
                    if self._bgzf is not None:
                        self._bgzf.close()
            finally:
                if self._path is not None or self._spool:
                    self._stream.close()
            if error is not None:
                # Re-raised inside the stack, so that the scratch files are thrown away and nothing is renamed.
                raise error
            if self._path is None:
                sys.stdout.buffer.flush()
            elif self._index:
                self._write_index()
        if self._journal is not None:
            self._journal.discard()

    def _write_from(self, journal: Journal) -> None:
        """Make the output of the header and all that the journal holds."""
        self._open()
        if self._header:
            (self._bgzf or self._stream).write(self._header)
        with journal.open_records() as records:
            while data := records.read(1 << 20):
                (self._bgzf or self._stream).write(data)

    def _write_index(self) -> None:
        assert self._path is not None
        assert self._index_path is not None
        csi = self._index == "csi"
        try:
            if self._preset == "bcf":
                pysam.bcftools.index("-f", str(self._path))
            elif self._preset == "tsv":
                pysam.tabix_index(
                    str(self._path), seq_col=0, start_col=1, end_col=1, meta_char="#", csi=csi, force=True
                )
            else:
                pysam.tabix_index(str(self._path), preset="vcf", csi=csi, force=True)
        except (OSError, SamtoolsError) as error:
            raise InputFileError(
                f"no {self._index} index can be made: {error}. A .tbi holds contigs up to 512 Mb; "
                "use --index-format csi for longer ones."
            ) from error
        Path(f"{self._path}.{self._index}").replace(self._index_path)
