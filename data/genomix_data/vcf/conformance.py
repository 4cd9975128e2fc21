"""Does a VCF keep to its specification? What breaks it is counted, by kind, with the place of the first.

A fault found here is no reason to stop: genomix carries the columns as they came, and scores only what it can read. But
a file with faults was often cut, or edited by hand, and other tools may refuse it.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from genomix_data.errors import GenomixError
from genomix_data.variant import Variant
from genomix_data.vcf.bcf import BcfRecord
from genomix_data.vcf.header import VcfHeader
from genomix_data.vcf.header_faults import declarations, header_faults
from genomix_data.vcf.opening import open_vcf
from genomix_data.vcf.reader import VcfReader
from genomix_data.vcf.record import VcfRecord
from genomix_data.vcf.record_faults import record_faults


@dataclass(slots=True)
class Conformance:
    """What was found.

    Attributes:
        n_records: Records looked at.
        faults: How often each fault came.
        first: Where each came first: ``file:line``, or the header.
    """

    n_records: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def note(self, fault: str, where: str) -> None:
        """Count a fault."""
        self.faults[fault] += 1
        self.first.setdefault(fault, where)


class ConformanceChecker:
    """Looks at a header, and at text records one after the other.

    Args:
        header: Of the file.
        name: What messages call the file.
    """

    def __init__(self, header: VcfHeader, name: str) -> None:
        self.found = Conformance()
        self._info = declarations(header, "INFO")
        self._formats = declarations(header, "FORMAT")
        self._contigs = header.contigs
        self._left: set[str] = set()
        self._last = ("", -1)
        self._seen: set[tuple[str, int, int, str]] = set()
        for fault in header_faults(header):
            self.found.note(fault, f"{name}, header")

    def check(self, record: VcfRecord) -> None:
        """Look at the next record."""
        self.found.n_records += 1
        faults = dict.fromkeys(record_faults(record, self._info, self._formats, self._contigs))
        for fault in (*faults, *self._order_faults(record)):
            self.found.note(fault, record.where)

    def watch(self, reader: VcfReader, n_first: int) -> Iterator[VcfRecord | BcfRecord]:
        """Yield the records of ``reader`` as they come, with a look at the first of them and at the end."""
        records = iter(reader)
        for record in islice(records, n_first):
            if isinstance(record, VcfRecord):
                self.check(record)
            yield record
        yield from records
        self.check_end(reader)

    def check_end(self, reader: VcfReader) -> None:
        """Call when all records are read."""
        if reader.lacks_line_end:
            self.found.note("the last line has no line end: the file may be cut", reader.name)

    def _order_faults(self, record: VcfRecord) -> list[str]:
        faults: list[str] = []
        chrom, pos = self._last
        name = record.chrom.strip("<>")
        if name != chrom:
            if name in self._left:
                faults.append("records of a contig do not follow each other")
            self._left.add(chrom)
            self._seen.clear()
        elif record.pos < pos:
            faults.append("records are not sorted by POS")
        self._last = (name, record.pos)
        for change in _changes(record):
            if change in self._seen:
                faults.append("a change comes twice")
            self._seen.add(change)
        return faults


def check_vcf(path: str | os.PathLike[str]) -> Conformance:
    """Return what in a VCF, VCF.gz or BCF breaks the specification.

    Raises:
        InputFileError: if it cannot be read at all; see `open_vcf`.
    """
    with open_vcf(path) as reader:
        checker = ConformanceChecker(reader.header, reader.name)
        for _ in checker.watch(reader, sys.maxsize):
            pass
    return checker.found


def _changes(record: VcfRecord) -> list[tuple[str, int, int, str]]:
    """Return each ALT as what it changes, so that two spellings in the same place are the same."""
    changes: list[tuple[str, int, int, str]] = []
    for alt in dict.fromkeys(record.alts):
        try:
            changes.append((record.chrom, *Variant(record.chrom, record.pos, record.ref, alt).change))
        except GenomixError:
            continue  # no letters, or the telomere: nothing to compare
    return changes
