"""Structural variants whose length is stated, spelled out as letters: ``<DEL>``, ``<DUP>``, ``<INV>``, ``<INS>``.

VCF has POS as the base before the variant, and INFO/END as its last base (or SVLEN as its length). Subtypes such as
``<DUP:TANDEM>`` and ``<DEL:ME:ALU>`` change the same bases. A duplication is taken to be in tandem and of one copy.
Of an insertion the letters must be in INFO/SEQ, SVINSSEQ or INSSEQ; those of a mobile element's name are not known.

Source: VCF specification 4.3, sections 1.4.5 and 5.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from genomix_data.alphabet import ACGT, reverse_complement
from genomix_data.interval import is_position

INSERTED_KEYS = ("SEQ", "SVINSSEQ", "INSSEQ")
_LENGTHENED = ("DEL", "DUP", "INV")
_ACGT = frozenset(ACGT.decode())


def spell_out(
    pos: int,
    ref: str,
    alt: str,
    number: int,
    info: Mapping[str, str | None],
    fetch: Callable[[int, int], bytes],
    contig_length: int,
    *,
    longest: int,
) -> tuple[int, str, str] | Literal["TOO_LONG"] | None:
    """Return position, REF and ALT of a symbolic allele as letters, or None where its length or letters are not stated.

    Args:
        pos: 1-based position of REF, the base before the variant.
        ref: REF allele, one base.
        alt: The symbolic allele, such as ``<DEL>``.
        number: Which of the record's ALT alleles it is, 0 for the first.
        info: INFO of the record.
        fetch: Gives the bases of the contig from a start to an end, 0-based and half-open, in upper case.
        contig_length: In bp.
        longest: Bases of the longer allele; more is ``TOO_LONG``, and not read.

    >>> contig = b"GATTACA"
    >>> def fetch(start: int, end: int) -> bytes:
    ...     return contig[start:end]
    >>> for kind in ("<DEL>", "<DUP>", "<INV>"):
    ...     spell_out(2, "A", kind, 0, {"END": "4"}, fetch, 7, longest=99)
    (2, 'ATT', 'A')
    (2, 'A', 'ATT')
    (2, 'ATT', 'AAA')
    """
    kind = alt.removeprefix("<").removesuffix(">").split(":", 1)[0].upper()
    if not (alt.startswith("<") and alt.endswith(">")) or len(ref) != 1 or not 1 <= pos <= contig_length:
        return None
    if kind == "INS":
        letters = _inserted(info, number)
        if letters is None:
            return None
        return "TOO_LONG" if len(letters) + 1 > longest else (pos, ref.upper(), ref.upper() + letters)
    length = _length(pos, info, number) if kind in _LENGTHENED else None
    if length is None or pos + length > contig_length:
        return None
    if length + 1 > longest:
        return "TOO_LONG"
    base = ref.upper()
    changed = fetch(pos, pos + length)
    if kind == "DEL":
        return pos, base + changed.decode(), base
    if kind == "DUP":
        return pos, base, base + changed.decode()
    return pos, base + changed.decode(), base + reverse_complement(changed).decode()


def _inserted(info: Mapping[str, str | None], number: int) -> str | None:
    for key in INSERTED_KEYS:
        values = (info.get(key) or "").upper().split(",")
        letters = values[number] if number < len(values) else ""
        if letters and _ACGT.issuperset(letters):
            return letters
    return None


def _length(pos: int, info: Mapping[str, str | None], number: int) -> int | None:
    """Return how many bases after POS change, by SVLEN of the allele or else by END; None where neither says."""
    sizes = (info.get("SVLEN") or "").split(",")
    size = sizes[number].removeprefix("-") if number < len(sizes) else ""
    if is_position(size):
        return int(size)
    end = info.get("END") or ""
    if is_position(end) and int(end) > pos:
        return int(end) - pos
    return None
