"""What scoring needs of a record."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Site:
    """A record's alleles: ``pos`` is 1-based, ``where`` is for messages, ``n_bytes`` is what it holds."""

    chrom: str
    pos: int
    ref: str
    alts: tuple[str, ...]
    where: str
    n_bytes: int = 0
