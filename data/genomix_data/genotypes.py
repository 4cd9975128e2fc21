"""GT of one sample of a text record."""

from dataclasses import dataclass

from genomix_data.errors import InputFileError
from genomix_data.vcf.record import VcfRecord


@dataclass(frozen=True, slots=True)
class Genotype:
    """Which alleles a sample has.

    Attributes:
        alleles: Number of each allele, 0 for REF; None where it is not called. One for a haploid call.
        is_phased: Whether their order means something (``|``).
        phase_set: PS as it stands in the record, ``""`` where there is none.
    """

    alleles: tuple[int | None, ...]
    is_phased: bool
    phase_set: str

    @property
    def needs_phase(self) -> bool:
        """Whether the alleles differ, so that it matters which haplotype has which."""
        return len(set(self.alleles)) > 1


def genotype_of(record: VcfRecord, sample: int) -> Genotype | None:
    """Return the call of a sample, or None where the record has no GT for it.

    Args:
        record: A text record.
        sample: Number of the sample column, 0 for the first.

    Raises:
        InputFileError: if GT is not allele numbers parted by ``|`` or ``/``, or names an allele that is not there.
    """
    if len(record.columns) < 9:
        return None
    fields = record.columns[8].split(b"\t", sample + 2)
    if len(fields) < sample + 2:
        return None
    values = dict(zip(fields[0].split(b":"), fields[sample + 1].split(b":"), strict=False))
    text = values.get(b"GT", b".").decode("utf-8", "surrogateescape")
    if text in ("", "."):
        return None
    # VCF 4.4 may write the phase of the first allele too: |0|1 or /0|1.
    body = text[1:] if text[:1] in "|/" else text
    parts = body.replace("|", "/").split("/")
    alleles = tuple(_allele(part, text, record) for part in parts)
    phase_set = values.get(b"PS", b"").decode("utf-8", "surrogateescape")
    return Genotype(alleles, "/" not in body and "|" in body, "" if phase_set == "." else phase_set)


def _allele(part: str, text: str, record: VcfRecord) -> int | None:
    if part == ".":
        return None
    if not (part.isascii() and part.isdecimal() and len(part) < 10) or int(part) > len(record.alts):
        raise InputFileError(
            f"{record.where}: GT is {text!r}; expected numbers from 0 to {len(record.alts)} (the ALT alleles of the "
            "record) parted by | or /."
        )
    return int(part)
