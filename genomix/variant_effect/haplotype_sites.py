"""Records with what one sample carries around them, so that an allele is scored beside its phased neighbours."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from genomix_data.errors import InputFileError
from genomix_data.genome import Genome
from genomix_data.genotypes import Genotype, genotype_of
from genomix_data.haplotypes import HaplotypePair, haplotypes
from genomix_data.interval import Interval
from genomix_data.vcf import VcfRecord

HAPLOTYPE_RULE = (
    "an allele that the sample carries in a known phase is scored with the other alleles of its haplotype in both "
    "windows (the mean, if both haplotypes carry it), any other on the reference"
)


@dataclass(frozen=True, slots=True)
class Backgrounds:
    """What an allele is put into.

    Attributes:
        sequences: Letters of a haplotype in upper case, without the allele, and the 1-based POS in them; none: the
            reference.
        skipped: Counts by reason, each beginning with ``haplotype:``: why it is the reference, and which neighbours
            were left out.
    """

    sequences: tuple[tuple[bytes, int], ...]
    skipped: Counter[str]


@dataclass(frozen=True, slots=True, eq=False)
class SiteHaplotypes:
    """A record among its neighbours.

    Attributes:
        record: The record itself.
        neighbours: All records near it, sorted; it may be among them.
        genome: What they were called on.
        contig: Name of the contig in it.
        sample: Number of the sample column.
        reach: Bases on either side that windows may need.
    """

    record: VcfRecord
    neighbours: tuple[VcfRecord, ...]
    genome: Genome
    contig: str
    sample: int
    reach: int

    def backgrounds(self, number: int, pos: int, ref: str) -> Backgrounds:
        """Return what ALT allele ``number`` (0 for the first) with this POS and REF is put into."""
        skipped: Counter[str] = Counter()
        genotype = genotype_of(self.record, self.sample)
        carriers = _carriers(genotype, number + 1)
        if not carriers:
            return self._on_reference("not_carried")
        pair = self._pair(pos, ref)
        assert genotype is not None
        if genotype.needs_phase and len(carriers) == 1:
            if not genotype.is_phased:
                return self._on_reference("unphased")
            if pair.phase_set is not None and pair.phase_set != genotype.phase_set:
                return self._on_reference("other_phase_set")
        found = []
        for carrier in carriers:
            haplotype = (pair.first, pair.second)[carrier]
            bases = haplotype.bases.upper()
            at = haplotype.index_of(pos - 1)
            if at is None or bases[at : at + len(ref)] != ref.encode():
                return self._on_reference("overlapping")
            found.append((bases, at + 1))
        skipped.update({f"haplotype:neighbour_{reason}": count for reason, count in pair.skipped.items()})
        distinct = dict.fromkeys(found)
        return Backgrounds(tuple(distinct), skipped)

    def _pair(self, pos: int, ref: str) -> HaplotypePair:
        length = self.genome.contigs[self.contig]
        interval = Interval(
            self.contig, max(0, pos - 1 - self.reach), min(length, pos - 1 + len(ref) + self.reach)
        )
        others = [record for record in self.neighbours if record is not self.record]
        return haplotypes(others, self.genome, interval, self.sample)

    @staticmethod
    def _on_reference(reason: str) -> Backgrounds:
        return Backgrounds((), Counter({f"haplotype:{reason}": 1}))


def _carriers(genotype: Genotype | None, allele: int) -> tuple[int, ...]:
    """Return which of the two haplotypes carry an allele; a haploid call is on the first."""
    if genotype is None or len(genotype.alleles) > 2:
        return ()
    return tuple(which for which, found in enumerate(genotype.alleles) if found == allele)


def with_neighbours(
    records: Iterable[VcfRecord], reach: int
) -> Iterator[tuple[VcfRecord, tuple[VcfRecord, ...]]]:
    """Yield each record with those of its contig whose POS is at most ``reach`` bp away; memory is bounded by these.

    Raises:
        InputFileError: if the records are not sorted.
    """
    waiting: deque[VcfRecord] = deque()
    passed: deque[VcfRecord] = deque()
    seen: set[str] = set()

    def ready(last: VcfRecord | None) -> Iterator[tuple[VcfRecord, tuple[VcfRecord, ...]]]:
        while waiting and (
            last is None or last.chrom != waiting[0].chrom or last.pos - waiting[0].pos > reach
        ):
            record = waiting.popleft()
            while passed and (passed[0].chrom != record.chrom or record.pos - passed[0].pos > reach):
                passed.popleft()
            following = [
                other for other in waiting if other.chrom == record.chrom and other.pos - record.pos <= reach
            ]
            yield record, (*passed, record, *following)
            passed.append(record)

    for record in records:
        before = waiting[-1] if waiting else passed[-1] if passed else None
        if before is None or before.chrom != record.chrom:
            if record.chrom in seen:
                raise _unsorted(record)
            seen.add(record.chrom)
        elif record.pos < before.pos:
            raise _unsorted(record)
        yield from ready(record)
        waiting.append(record)
    yield from ready(None)


def _unsorted(record: VcfRecord) -> InputFileError:
    return InputFileError(
        f"{record.where}: haplotypes need sorted records, and {record.chrom}:{record.pos} comes after a later one. "
        "Sort the input first (bcftools sort)."
    )
