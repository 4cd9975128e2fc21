"""Tracks for genome browsers of a saturation mutagenesis: one number a base, as bedGraph or bigWig."""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Literal, Self

from genomix.variant_effect.saturation import MutatedBase, Saturation
from genomix_data.atomic import atomic_file
from genomix_data.errors import ConfigError, GenomixError
from genomix_data.vcf.sink import FileSink

Track = Literal["mean", "min", "max", "deletion"]
"""What a track shows of a base: the mean, smallest or largest score of its substitutions, or that of its deletion."""

BEDGRAPHS = (".bedgraph", ".bedgraph.gz", ".bg", ".bg.gz")
BIGWIGS = (".bw", ".bigwig")
_AT_ONCE = 1 << 15


class BedGraph:
    """One line a base; bases without a score are left out.

    Args:
        path: The file; packed with bgzip if it ends in ``.gz``.
        lines: ``##`` lines on how the scores were made.
        track: What is shown.
    """

    def __init__(self, path: str, lines: Sequence[str], track: Track) -> None:
        self._track: Track = track
        self._lines = lines
        self._sink = FileSink(path, compress=path.lower().endswith(".gz"))

    def __enter__(self) -> Self:
        self._sink.__enter__()
        # no track line: bedGraphToBigWig refuses one, and browsers need none
        told = (*self._lines, f'##genomixTrack=<ID={self._track},Description="llr of each base">', "")
        self._sink.write_header("\n".join(told).encode())
        return self

    def write(self, base: MutatedBase) -> None:
        """Take the next base."""
        value = _track_value(base, self._track)
        if value is not None:
            self._sink.write(f"{base.chrom}\t{base.start}\t{base.start + 1}\t{value:.6g}\n".encode())

    def finish(self) -> None:
        """Nothing is left to do."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.__exit__(kind, error, trace)


class BigWig:
    """The same, binary and indexed, through pyBigWig.

    Args:
        path: The file.
        run: Whose genome gives the contigs.
        track: What is shown.

    Raises:
        ConfigError: if pyBigWig is not installed.
    """

    def __init__(self, path: str, run: Saturation, track: Track) -> None:
        try:
            import pyBigWig
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{path!r} would be a bigWig, and pyBigWig is not installed. Install the extra: "
                "pip install 'genomix-fm[bigwig]', or write a .bedgraph."
            ) from error
        self._open = pyBigWig.open
        self._path = path
        self._track: Track = track
        self._contigs = list(run.genome.contigs.items())
        self._stack = ExitStack()
        self._chrom = ""
        self._starts: list[int] = []
        self._values: list[float] = []
        self._n_written = 0
        self._file: Any = None

    def __enter__(self) -> Self:
        temporary = self._stack.enter_context(atomic_file(self._path))
        self._file = self._open(str(temporary), "w")
        self._file.addHeader(self._contigs)
        return self

    def write(self, base: MutatedBase) -> None:
        """Take the next base."""
        value = _track_value(base, self._track)
        if value is None:
            return
        if base.chrom != self._chrom or len(self._starts) == _AT_ONCE:
            self._flush()
            self._chrom = base.chrom
        self._starts.append(base.start)
        self._values.append(value)

    def _flush(self) -> None:
        if self._starts:
            ends = [start + 1 for start in self._starts]
            self._file.addEntries(
                [self._chrom] * len(self._starts), self._starts, ends=ends, values=self._values
            )
        self._n_written += len(self._starts)
        self._starts, self._values = [], []

    def finish(self) -> None:
        """Write what is waiting, and the index."""
        self._flush()
        if not self._n_written:
            raise GenomixError(
                f"no base of the regions has a score, so there is nothing for {self._path!r}; are they all N?"
            )
        self._file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _track_value(base: MutatedBase, track: Track) -> float | None:
    if track == "deletion":
        return base.deletion[1].llr if base.deletion else None
    scores = [score.llr for _, score in base.substitutions if score.llr is not None]
    if not scores:
        return None
    return min(scores) if track == "min" else max(scores) if track == "max" else sum(scores) / len(scores)
