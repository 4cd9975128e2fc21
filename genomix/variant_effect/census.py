"""What there is to be scored, and what of it will be written: known before the first score, so that a shard says it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from genomix.variant_effect.assembly import Assembly
from genomix.variant_effect.contract import ScoreOptions
from genomix.variant_effect.plan import Planner
from genomix.variant_effect.score import BLOCK_RECORDS
from genomix.variant_effect.site import Site
from genomix_data.genome import Genome
from genomix_data.vcf import VcfRecord
from genomix_data.vcf.bcf import BcfRecord

Record = VcfRecord | BcfRecord
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Census:
    """The records of an input, or of a selection of it.

    Attributes:
        records: How many.
        rows_by_block: Rows of a table that each block of 1,024 records fills; the last block may have fewer records.
        digest: Of all bytes of all records, in order: tells one input from another.
    """

    records: int
    rows_by_block: tuple[int, ...]
    digest: str

    @property
    def blocks(self) -> int:
        """Blocks of 1,024 records, the last perhaps of fewer."""
        return len(self.rows_by_block)


def census_of(records: Iterable[Record]) -> Census:
    """Return the census of records, which are read once."""
    hashed = hashlib.blake2b(digest_size=DIGEST_BYTES)
    rows: list[int] = []
    n_records = 0
    for n_records, record in enumerate(records, 1):
        if (n_records - 1) % BLOCK_RECORDS == 0:
            rows.append(0)
        rows[-1] += rows_of(record)
        if isinstance(record, VcfRecord):
            hashed.update(b"\t".join(record.columns) + b"\n")
        else:
            hashed.update(record.shared)
            hashed.update(record.individual)
    return Census(n_records, tuple(rows), hashed.hexdigest())


def rows_of(record: Record) -> int:
    """Return how many rows of a table a record has: one an ALT allele, at least one."""
    return len(record.alts) or 1


def site_of(record: Record) -> Site:
    """Return what scoring needs of a record whose alleles are letters."""
    return Site(record.chrom, record.pos, record.ref, record.alts, record.where, record.n_bytes)


def kept_of(
    records: Iterable[Record], genome: Genome, assembly: Assembly, options: ScoreOptions, window: int
) -> tuple[int, int]:
    """Return how many records, and rows of a table, are left when those with a REF mismatch are dropped.

    Args:
        records: Read once; none is scored.
        genome: The FASTA.
        assembly: Of the run; its judgement is not touched.
        options: Of the run.
        window: In bp.
    """
    planner = Planner(genome, assembly.without_judgement(), window, options)
    kept = [rows_of(record) for record in records if not planner.is_mismatch(site_of(record))]
    return len(kept), sum(kept)
