"""What scoring needs of a record."""

from collections.abc import Mapping
from dataclasses import dataclass

from genomix.variant_effect.haplotype_sites import SiteHaplotypes


@dataclass(frozen=True, slots=True)
class Site:
    """A record's alleles.

    Attributes:
        chrom: Contig as the record spells it.
        pos: 1-based position of the first base of REF.
        ref: REF allele, in either case.
        alts: ALT alleles.
        where: The record, for messages.
        n_bytes: What the record holds in memory.
        info: INFO of a record with symbolic alleles that are to be spelled out; None leaves them unscored.
        haplotypes: What a sample carries around the record; None scores on the reference.
    """

    chrom: str
    pos: int
    ref: str
    alts: tuple[str, ...]
    where: str
    n_bytes: int = 0
    info: Mapping[str, str | None] | None = None
    haplotypes: SiteHaplotypes | None = None
