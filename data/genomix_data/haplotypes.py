"""The two sequences that a person carries: the genome with the phased alleles of one sample put in.

Only what the genotypes say is applied. A heterozygous call needs a phase (``0|1``), and calls of different phase sets
have no known order to each other, so of several phase sets the one with the most calls is used.
"""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from genomix_data.alphabet import find_non_iupac
from genomix_data.errors import GenomixError, preview
from genomix_data.genome import Genome
from genomix_data.genotypes import Genotype, genotype_of
from genomix_data.interval import Interval
from genomix_data.variant import Variant
from genomix_data.vcf import VcfReader, VcfRecord, open_vcf
from genomix_data.vcf.bin_index import find_index

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "no_genotype": "the record has no GT for the sample",
        "missing": "the allele of this haplotype is not called (.)",
        "ploidy": "the call has more than two alleles",
        "unphased": "heterozygous without a phase",
        "other_phase_set": "phased, but against another phase set than the one used",
        "star": "* (deleted by an upstream variant)",
        "symbolic": "symbolic allele, breakend, or letters that are no nucleotide codes",
        "ref_mismatch": "REF is not what the genome has",
        "edge": "reaches beyond the interval",
        "overlapping": "changes bases that an earlier record of the same haplotype has changed",
    }
)
"""Why an allele was not applied."""


@dataclass(frozen=True, slots=True, eq=False)
class Haplotype:
    """One sequence, and where each of its bases lies on the genome.

    Attributes:
        bases: Letters; those of the genome keep their case, alleles are in upper case.
        positions: 0-based position on the contig of each base, ``(len(bases),)``, never falling. An inserted base has
            the position of the base before it (one less than the interval's start where there is none).
        applied: What was put in, in order.
    """

    bases: bytes
    positions: NDArray[np.int64]
    applied: tuple[Variant, ...]

    def index_of(self, position: int) -> int | None:
        """Return where in ``bases`` the genome's ``position`` (0-based) is, or None where it is deleted or outside."""
        index = int(np.searchsorted(self.positions, position))
        if index == len(self.positions) or self.positions[index] != position:
            return None
        return index


@dataclass(frozen=True, slots=True, eq=False)
class HaplotypePair:
    """Both sequences of an interval, on the forward strand.

    Attributes:
        first: With the alleles left of the ``|``.
        second: With those right of it.
        interval: What of the genome they stand for.
        phase_set: The phase set used (PS of the records), ``""`` for records without PS, None where nothing is phased.
        skipped: Copies of ALT alleles that were not applied, by the reasons in `REASONS`.
    """

    first: Haplotype
    second: Haplotype
    interval: Interval
    phase_set: str | None
    skipped: Mapping[str, int]

    @property
    def bases(self) -> tuple[bytes, bytes]:
        """The letters of both."""
        return self.first.bases, self.second.bases


def read_haplotypes(
    vcf: str | os.PathLike[str], genome: Genome, interval: Interval, sample: str | None = None
) -> HaplotypePair:
    """Return the haplotypes of a sample of a VCF file.

    Args:
        vcf: VCF, VCF.gz or BCF; its index is used where it has one.
        genome: What the variants were called on.
        interval: Which part; its strand is not looked at.
        sample: Name of the sample; None for the only one.

    Raises:
        GenomixError: if there is no such sample, or none is named of several.
        InputFileError: as `genomix_data.vcf.open_vcf`.
        ReferenceMismatchError: if the contig is not in the genome or the VCF.
    """
    with open_vcf(vcf) as reader:
        samples = reader.samples
        if sample is None and len(samples) == 1:
            sample = samples[0]
        if sample is None or sample not in samples:
            asked = "no sample was named" if sample is None else f"sample {sample!r} is not there"
            raise GenomixError(f"{asked}; {reader.name} has {preview(samples) or 'no samples'}. Name one.")
        contig = genome.resolve(interval.chrom)
        spelt = next((name for name in reader.contigs if genome.names.resolve(name) == contig), None)
        if spelt is None or str(vcf) == "-" or find_index(Path(vcf)) is None:
            return haplotypes(_on_contig(reader, genome, contig), genome, interval, samples.index(sample))
    with open_vcf(vcf, regions=[Interval(spelt, interval.start, interval.end)]) as part:
        return haplotypes(_on_contig(part, genome, contig), genome, interval, samples.index(sample))


def _on_contig(reader: VcfReader, genome: Genome, contig: str) -> Iterator[VcfRecord]:
    for record in reader:
        assert isinstance(record, VcfRecord), "the reader was opened for text records"
        if genome.names.resolve(record.chrom) == contig:
            yield record


def haplotypes(
    records: Iterable[VcfRecord], genome: Genome, interval: Interval, sample: int = 0
) -> HaplotypePair:
    """Return both sequences of ``interval`` with the phased alleles of a sample.

    A haploid call (chrM, chrX of a male) counts for both. Homozygous calls need no phase.

    Args:
        records: Text records of the interval's contig, sorted; those outside the interval are passed over.
        genome: What the variants were called on.
        interval: Which part; its strand is not looked at.
        sample: Number of the sample column, 0 for the first.
    """
    reference = genome.fetch(interval.chrom, interval.start, interval.end)
    skipped: Counter[str] = Counter()
    calls: list[tuple[VcfRecord, Genotype]] = []
    for record in records:
        if record.pos - 1 < interval.end and record.pos - 1 + len(record.ref) > interval.start:
            genotype = genotype_of(record, sample)
            if genotype is None:
                skipped["no_genotype"] += 1
            elif len(genotype.alleles) > 2:
                skipped["ploidy"] += 1
            else:
                calls.append((record, genotype))
    phase_set = _phase_set(calls)
    builders = [_Builder(genome, interval, reference, skipped) for _ in range(2)]
    for record, genotype in calls:
        alleles = genotype.alleles * (2 // len(genotype.alleles))
        if genotype.needs_phase and (not genotype.is_phased or genotype.phase_set != phase_set):
            reason = "other_phase_set" if genotype.is_phased else "unphased"
            skipped[reason] += sum(allele not in (0, None) for allele in alleles)
            continue
        for builder, allele in zip(builders, alleles, strict=True):
            builder.take(record, allele)
    first, second = (builder.build() for builder in builders)
    return HaplotypePair(first, second, interval, phase_set, dict(skipped))


def _phase_set(calls: list[tuple[VcfRecord, Genotype]]) -> str | None:
    """Return the phase set of most heterozygous calls, the first of equals."""
    counts = Counter(g.phase_set for _, g in calls if g.is_phased and g.needs_phase)
    return counts.most_common(1)[0][0] if counts else None


_Change = tuple[int, int, bytes, Variant]


def _span(change: _Change) -> tuple[int, int]:
    return change[:2]


class _Builder:
    """One haplotype in the making: changes that do not overlap."""

    def __init__(self, genome: Genome, interval: Interval, reference: bytes, skipped: Counter[str]) -> None:
        self._genome = genome
        self._interval = interval
        self._reference = reference
        self._skipped = skipped
        self._changes: list[_Change] = []

    def take(self, record: VcfRecord, allele: int | None) -> None:
        """Note an allele of a record (0: REF, None: not called), or why it cannot be applied."""
        if allele is None:
            self._skipped["missing"] += 1
        elif allele > 0:
            reason = self._add(record, allele)
            if reason:
                self._skipped[reason] += 1

    def _add(self, record: VcfRecord, allele: int) -> str | None:
        alt = record.alts[allele - 1] if allele <= len(record.alts) else ""
        if alt == "*":
            return "star"
        if not (_is_letters(alt) and _is_letters(record.ref)):
            return "symbolic"
        variant = Variant(record.chrom, record.pos, record.ref, alt)
        begin, end, letters = variant.change
        begin, end = begin - self._interval.start, end - self._interval.start
        if begin < 0 or end > len(self._reference):
            return "edge"
        if not self._ref_agrees(record):
            return "ref_mismatch"
        if begin == end and not letters:
            return None  # ALT is REF
        place = bisect_left(self._changes, (begin, end), key=_span)
        neighbours = self._changes[max(0, place - 1) : place + 1]
        # Two insertions at one place have no order; one beside a deletion is well defined.
        if any((b < end and begin < e) or (b, e) == (begin, end) for b, e in map(_span, neighbours)):
            return "overlapping"
        self._changes.insert(place, (begin, end, letters.encode(), variant))
        return None

    def _ref_agrees(self, record: VcfRecord) -> bool:
        start = record.pos - 1 - self._interval.start
        end = start + len(record.ref)
        if start >= 0 and end <= len(self._reference):
            found = self._reference[start:end]
        else:
            place = (self._interval.chrom, record.pos - 1, record.pos - 1 + len(record.ref))
            found = self._genome.fetch_window(*place, pad=b"-")
        return found.decode().upper() == record.ref.upper()

    def build(self) -> Haplotype:
        """Return the sequence with all changes."""
        pieces: list[bytes] = []
        places: list[NDArray[np.int64]] = []
        done, last = 0, -1
        for begin, end, letters, _ in self._changes:
            pieces += [self._reference[done:begin], letters]
            places.append(np.arange(done, begin))
            last = begin - 1 if begin > done else last
            kept = min(end - begin, len(letters))
            places.append(np.arange(begin, begin + kept))
            last = begin + kept - 1 if kept else last
            places.append(np.full(len(letters) - kept, last))
            done = end
        pieces.append(self._reference[done:])
        places.append(np.arange(done, len(self._reference)))
        return Haplotype(
            b"".join(pieces),
            np.concatenate(places).astype(np.int64) + self._interval.start,
            tuple(variant for *_, variant in self._changes),
        )


def _is_letters(allele: str) -> bool:
    return bool(allele) and allele.isascii() and find_non_iupac(allele.encode()) is None
