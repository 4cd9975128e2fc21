"""Which parts of a genome are wanted: ``chr1:100-200``, a list of such, or a file of them.

Spellings and files are those of bcftools: a string is 1-based with both ends included; a file whose name ends in
``.bed`` or ``.bed.gz`` is 0-based and half-open; any other file has the columns contig, position and, where wanted,
last position, 1-based with both ends included.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from genomix_data.bed import read_bed
from genomix_data.contigs import ContigNames
from genomix_data.errors import GenomixError, InputFileError, ReferenceMismatchError, preview
from genomix_data.interval import Interval, is_position
from genomix_data.text_input import open_text

CONTIG_END = 1 << 62
"""The ``end`` of an interval that reaches to the end of its contig, whatever its length."""

_REGION = re.compile(
    r"(?:\{(?P<braced>[^{}]+)\}|(?P<plain>[^{}]+?))(?::(?P<first>[\d,]+)(?P<dash>-(?P<last>[\d,]*))?)?"
)
# In "chr1:1,000-2,000" a comma groups digits; in "chr1:10,chr2" it parts two regions.
_GROUP = re.compile(r"\d{3}(?:-\d*)?")
_OPEN_NUMBER = re.compile(r".+:(?:[\d,]*-)?\d{1,3}(?:,\d{3})*")
_BED_SUFFIXES = (".bed", ".bed.gz", ".bed.bgz")


@dataclass(frozen=True, slots=True)
class Regions:
    """Intervals to be kept, or with `is_excluded` to be left out.

    Attributes:
        intervals: In the order in which they came; they may overlap.
        source: What messages call them: the string, or the name of the file.
        is_file: Whether they came from a file. A file may hold contigs that the data lack; a string may not.
        is_excluded: Whether the rest of the genome is meant (``^`` before the string or the file name).
    """

    intervals: tuple[Interval, ...]
    source: str
    is_file: bool = False
    is_excluded: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the regions of a comma-separated list; ``^`` in front means all but these.

        ``chr1`` is a whole contig, ``chr1:5`` one base, ``chr1:5-`` all from there. A contig whose own name has a colon
        is written in braces: ``{HLA-A*01:01}:1-200``.

        Raises:
            GenomixError: if a region has another form, or ends before it begins.

        >>> [str(interval) for interval in Regions.parse("chr1:1,001-2,000,chr2:5").intervals]
        ['chr1:1001-2000', 'chr2:5-5']
        """
        body = text.removeprefix("^")
        intervals = tuple(_interval(part.strip(), text) for part in _split(body))
        return cls(intervals, text, is_excluded=text != body)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Return the regions of a file (see the module); ``^`` before the name means all but these.

        Raises:
            InputFileError: if the file is missing or has no region, or a line is not what it should be.
        """
        name = str(path)
        source = Path(name.removeprefix("^"))
        if source.name.lower().endswith(_BED_SUFFIXES):
            intervals = tuple(record.interval for record in read_bed(source))
        else:
            intervals = tuple(_read_positions(source))
        return cls(intervals, source.name, is_file=True, is_excluded=name.startswith("^"))

    @classmethod
    def of(cls, regions: "Regions | str | Iterable[Interval]") -> "Regions":
        """Return ``regions`` as they are, a string parsed, or intervals collected."""
        if isinstance(regions, Regions):
            return regions
        if isinstance(regions, str):
            return cls.parse(regions)
        intervals = tuple(regions)
        return cls(intervals, preview(intervals))

    @property
    def chroms(self) -> tuple[str, ...]:
        """Contigs named, each once, in order."""
        return tuple(dict.fromkeys(interval.chrom for interval in self.intervals))

    def merged(self, names: ContigNames) -> dict[str, list[tuple[int, int]]]:
        """Return ``{contig: [(start, end)]}``, 0-based, half-open, sorted and disjoint.

        Args:
            names: The contigs of the data; their spelling is used, in their order.

        Raises:
            ReferenceMismatchError: if a string names a contig that is not there, or of a file no contig is there.
        """
        resolved = names.resolve_all(self.chroms)
        missing = [name for name, found in resolved.items() if found is None]
        if missing and (not self.is_file or len(missing) == len(resolved)):
            raise unknown_contig(missing[0], self, names)
        spans: dict[str, list[tuple[int, int]]] = {}
        for name in names.names:
            of_contig = sorted((i.start, i.end) for i in self.intervals if resolved[i.chrom] == name)
            if of_contig:
                spans[name] = _merge(of_contig)
        return spans


class TargetFilter:
    """Tells record by record whether POS lies inside the targets, as ``bcftools -t`` does by default.

    Args:
        targets: What is wanted.
        declared: Contigs of the header; may lack some, or be empty.

    Raises:
        ReferenceMismatchError: if the header declares contigs and the targets' are not among them.
    """

    def __init__(self, targets: Regions, declared: Iterable[str]) -> None:
        self._targets = targets
        self._names = ContigNames(declared)
        if len(self._names):
            targets.merged(self._names)
        wanted = ContigNames(targets.chroms)
        self._wanted = wanted
        self._merged = targets.merged(wanted)
        self._by_chrom: dict[str, tuple[list[int], list[int]] | None] = {}

    def accepts(self, chrom: str, pos: int) -> bool:
        """Tell whether a record at ``pos`` (1-based; 0 is the telomere) is wanted."""
        if chrom not in self._by_chrom:
            self._by_chrom[chrom] = self._bounds(chrom)
        bounds = self._by_chrom[chrom]
        if bounds is None:
            return self._targets.is_excluded
        starts, ends = bounds
        place = bisect_right(starts, pos - 1) - 1
        return (place >= 0 and pos - 1 < ends[place]) != self._targets.is_excluded

    def check_at_end(self) -> None:
        """Call when all records are read.

        Raises:
            ReferenceMismatchError: if the header declared no contigs and no record had one of the targets'.
        """
        if self._by_chrom and not len(self._names) and not any(self._by_chrom.values()):
            raise unknown_contig(self._targets.chroms[0], self._targets, ContigNames(self._by_chrom))

    def _bounds(self, chrom: str) -> tuple[list[int], list[int]] | None:
        name = self._wanted.resolve(chrom)
        if name is None:
            return None
        spans = self._merged[name]
        # A whole contig includes its telomere, whose POS is 0.
        starts = [-1 if (start, end) == (0, CONTIG_END) else start for start, end in spans]
        return starts, [end for _, end in spans]


def unknown_contig(chrom: str, regions: Regions, names: ContigNames) -> ReferenceMismatchError:
    """Return the error for a region whose contig the data lack."""
    closest = names.suggest(chrom)
    hint = f" Did you mean {closest!r}?" if closest else ""
    which = "none of the contigs" if regions.is_file else f"contig {chrom!r}"
    verb = "" if regions.is_file else "not "
    return ReferenceMismatchError(
        f"{which} of the regions {regions.source!r} is {verb}in the file, which has {preview(names.names)}.{hint} "
        "'chr' and M/MT are translated already."
    )


def _split(text: str) -> list[str]:
    parts: list[str] = []
    for piece in text.split(","):
        if parts and _GROUP.fullmatch(piece) and _OPEN_NUMBER.fullmatch(parts[-1]):
            parts[-1] += f",{piece}"
        else:
            parts.append(piece)
    return parts


def _interval(region: str, text: str) -> Interval:
    match = _REGION.fullmatch(region)
    if match is None:
        raise GenomixError(
            f"region {region!r} in {text!r} is not of the form chrom, chrom:pos, chrom:first-last or chrom:first-, "
            "1-based with both ends included, such as chr1:1001-2000."
        )
    chrom = match["braced"] or match["plain"]
    if match["first"] is None:
        return Interval(chrom, 0, CONTIG_END)
    first = _number(match["first"])
    last = first if match["dash"] is None else _number(match["last"]) if match["last"] else CONTIG_END
    if first < 1 or last < first:
        raise GenomixError(f"region {region!r} is not valid: positions are 1-based and first <= last.")
    return Interval(chrom, first - 1, last)


def _number(digits: str) -> int:
    number = digits.replace(",", "")
    if not is_position(number):
        raise GenomixError(f"position {digits!r} in a region is not a whole number of at most 18 digits.")
    return int(number)


def _read_positions(source: Path) -> Iterable[Interval]:
    n_regions = 0
    with open_text(source, "regions file") as text:
        for number, line in enumerate(text, start=1):
            fields = line.split()
            if not fields or line.startswith("#"):
                continue
            where = f"{source}:{number}"
            columns = fields[1:3]
            if not columns:
                yield Interval(fields[0], 0, CONTIG_END)
            elif not all(map(is_position, columns)):
                raise InputFileError(
                    f"{where}: expected contig, position and last position, 1-based; got {preview(fields)}. "
                    "A 0-based BED file must have a name that ends in .bed or .bed.gz."
                )
            else:
                first, last = int(columns[0]), int(columns[-1])
                if first < 1 or last < first:
                    raise InputFileError(
                        f"{where}: {first}-{last} is not valid: positions are 1-based and first <= last."
                    )
                yield Interval(fields[0], first - 1, last)
            n_regions += 1
    if not n_regions:
        raise InputFileError(f"regions file {str(source)!r} has no region in it. Check the file.")


def _merge(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return sorted spans with those that overlap or touch made one."""
    merged = [spans[0]]
    for start, end in spans[1:]:
        if start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
