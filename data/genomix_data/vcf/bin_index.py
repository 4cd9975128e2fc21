"""The ``.tbi`` or ``.csi`` beside a VCF.gz or BCF: where in the file the records of a region lie.

Both are compressed tables of bins; a bin is a stretch of a contig, and holds the chunks of the file in which the
records of that stretch are. A place in the file is a virtual offset: that of a BGZF block, times 65,536, plus the
offset in its text.

Source: the Tabix and CSI index formats of the SAM/BAM specifications (hts-specs ``tabix.tex``, ``CSIv1.tex``).
"""

import gzip
import logging
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from genomix_data.errors import InputFileError
from genomix_data.vcf.streams import READ_FAILURES

logger = logging.getLogger(__name__)

Chunk = tuple[int, int]

_INT = struct.Struct("<i")
_BIN = struct.Struct("<I")
_OFFSETS = struct.Struct("<QQ")
_LARGEST_INDEX = 1 << 30


@dataclass(frozen=True, slots=True)
class BinIndex:
    """What an index says.

    Attributes:
        path: The index file.
        names: Contigs in file order; empty for a BCF, whose index has numbers only.
        min_shift: log2 of the smallest bin, in bp.
        depth: Levels of bins below the one that holds a whole contig.
        bins: For each contig ``{bin: chunks}``.
    """

    path: Path
    names: tuple[str, ...]
    min_shift: int
    depth: int
    bins: tuple[dict[int, list[Chunk]], ...]

    def chunks(self, contig: int, spans: Iterable[tuple[int, int]]) -> list[Chunk]:
        """Return the chunks, sorted and disjoint, that hold all records of ``spans`` and others beside.

        Args:
            contig: Number of the contig in the index.
            spans: 0-based, half-open.
        """
        if contig >= len(self.bins):
            return []
        wanted = list(spans)
        found: list[Chunk] = []
        for number, chunks in self.bins[contig].items():
            bounds = self._bounds(number)
            if bounds and any(start < bounds[1] and bounds[0] < end for start, end in wanted):
                found += chunks
        merged: list[Chunk] = []
        for begin, end in sorted(found):
            if merged and begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return merged

    def _bounds(self, number: int) -> tuple[int, int] | None:
        """Return the stretch of the contig that a bin holds; None for the bin of counts, which holds no records."""
        first = 0
        for level in range(self.depth + 1):
            n_bins = 1 << (3 * level)
            if number < first + n_bins:
                shift = self.min_shift + 3 * (self.depth - level)
                return (number - first) << shift, (number - first + 1) << shift
            first += n_bins
        return None


def find_index(path: Path) -> Path | None:
    """Return the index beside ``path``, ``.csi`` before ``.tbi``, or None; an older one than the file is warned of."""
    for suffix in (".csi", ".tbi"):
        index = path.with_name(path.name + suffix)
        if index.is_file():
            if index.stat().st_mtime < path.stat().st_mtime:
                logger.warning(
                    "the index %s is older than %s; if they do not belong together, index again", index, path
                )
            return index
    return None


def read_bin_index(path: Path) -> BinIndex:
    """Return what the index at ``path`` says.

    Raises:
        InputFileError: if it is neither ``.tbi`` nor ``.csi``, or damaged.
    """
    try:
        with gzip.open(path, "rb") as stream:
            data = stream.read(_LARGEST_INDEX)
    except READ_FAILURES + (OSError,) as error:  # noqa: RUF005 - mypy reads no other form
        raise _damaged(path, str(error)) from error
    try:
        if data[:4] == b"TBI\x01":
            return _parse_tbi(path, data)
        if data[:4] == b"CSI\x01":
            return _parse_csi(path, data)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise _damaged(path, str(error)) from error
    raise _damaged(path, f"it begins with {data[:4]!r}")


def _parse_tbi(path: Path, data: bytes) -> BinIndex:
    n_contigs, *_, size = struct.unpack_from("<8i", data, 4)
    names = _names(data, 36, size)
    offset = 36 + size
    bins: list[dict[int, list[Chunk]]] = []
    for _ in range(n_contigs):
        found, offset = _bins(data, offset, loffset=0)
        bins.append(found)
        (n_intervals,) = _INT.unpack_from(data, offset)
        offset += 4 + 8 * _count(n_intervals)
    return BinIndex(path, names, 14, 5, tuple(bins))


def _parse_csi(path: Path, data: bytes) -> BinIndex:
    min_shift, depth, size = struct.unpack_from("<3i", data, 4)
    if not (0 < min_shift < 32 and 0 <= depth < 16):
        raise ValueError(f"bins of 2**{min_shift} bp on {depth} levels")
    names = _names(data, 44, size - 28) if size >= 28 else ()
    offset = 16 + _count(size)
    (n_contigs,) = _INT.unpack_from(data, offset)
    offset += 4
    bins: list[dict[int, list[Chunk]]] = []
    for _ in range(n_contigs):
        found, offset = _bins(data, offset, loffset=8)
        bins.append(found)
    return BinIndex(path, names, min_shift, depth, tuple(bins))


def _names(data: bytes, offset: int, size: int) -> tuple[str, ...]:
    text = data[offset : offset + _count(size)].decode("utf-8", "surrogateescape")
    return tuple(text.split("\0")[:-1])


def _bins(data: bytes, offset: int, loffset: int) -> tuple[dict[int, list[Chunk]], int]:
    (n_bins,) = _INT.unpack_from(data, offset)
    offset += 4
    found: dict[int, list[Chunk]] = {}
    for _ in range(_count(n_bins)):
        (number,) = _BIN.unpack_from(data, offset)
        (n_chunks,) = _INT.unpack_from(data, offset + 4 + loffset)
        offset += 8 + loffset
        size = 16 * _count(n_chunks)
        if offset + size > len(data):
            raise ValueError("it ends inside a bin")
        found[number] = list(_OFFSETS.iter_unpack(data[offset : offset + size]))
        offset += size
    return found, offset


def _count(number: int) -> int:
    if number < 0:
        raise ValueError(f"it counts {number} entries")
    return number


def _damaged(path: Path, reason: str) -> InputFileError:
    return InputFileError(
        f"the index {str(path)!r} is damaged: {reason}. Remove it and make it again, for example with "
        f"`bcftools index -f {path.with_suffix('').name}`."
    )
