"""The IUPAC nucleotide letters, their complements, and look-ups over bytes and numpy arrays.

Fifteen codes (A C G T and eleven ambiguity codes, N among them) and U, the RNA spelling of T; either case.
Letters outside the code (gaps, ``*``, digits) are kept as they are by the reverse complement.

Source: Cornish-Bowden 1985, Nomenclature for incompletely specified bases, NAR 13:3021.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from genomix_data.errors import GenomixError

_Letters = TypeVar("_Letters", bytes, str)

ACGT = b"ACGT"
AMBIGUOUS = b"RYSWKMBDHVN"
"""Codes that stand for more than one base."""

IUPAC = ACGT + b"U" + AMBIGUOUS
"""Every letter that a nucleotide sequence may hold, in upper case."""

IUPAC_ANY_CASE = IUPAC + IUPAC.lower()

_FROM = b"ACGTURYSWKMBDHVN"
_TO = b"TGCAAYRSWMKVHDBN"
COMPLEMENT = bytes.maketrans(_FROM + _FROM.lower(), _TO + _TO.lower())
"""256-entry table for `bytes.translate`."""

_COMPLEMENT_STR = str.maketrans((_FROM + _FROM.lower()).decode(), (_TO + _TO.lower()).decode())
_COMPLEMENT_ARRAY: NDArray[np.uint8] = np.frombuffer(COMPLEMENT, dtype=np.uint8)
_IS_IUPAC: NDArray[np.bool_] = np.isin(np.arange(256), np.frombuffer(IUPAC_ANY_CASE, dtype=np.uint8))


def reverse_complement(sequence: _Letters) -> _Letters:
    """Return the other strand, read 5' to 3', in the type that came; case is kept.

    Its own inverse for DNA. U becomes A, and so comes back as T.

    >>> reverse_complement(b"ACGTN"), reverse_complement("aacRYKM")
    (b'NACGT', 'KMRYgtt')
    """
    if isinstance(sequence, str):
        return sequence.translate(_COMPLEMENT_STR)[::-1]
    return sequence.translate(COMPLEMENT)[::-1]


def reverse_complement_array(letters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the other strand of letters held as bytes; the last axis is the sequence, ``(..., L)``."""
    return _COMPLEMENT_ARRAY[letters[..., ::-1]]


def find_non_iupac(sequence: bytes) -> int | None:
    """Return the offset of the first letter that is not an IUPAC nucleotide code, or None.

    >>> find_non_iupac(b"ACGTN"), find_non_iupac(b"ACG-T")
    (None, 3)
    """
    if not sequence.translate(None, IUPAC_ANY_CASE):
        return None
    return int(np.argmin(_IS_IUPAC[np.frombuffer(sequence, dtype=np.uint8)]))


def require_iupac(sequence: bytes, chrom: str, start: int) -> bytes:
    """Return ``sequence``, found at 0-based ``start`` of ``chrom``, when every letter is a nucleotide code.

    Raises:
        GenomixError: naming the letter and its 1-based position.
    """
    offset = find_non_iupac(sequence)
    if offset is not None:
        letter = chr(sequence[offset])
        raise GenomixError(
            f"{letter!r} at {chrom}:{start + offset + 1} is not a nucleotide code. The IUPAC letters are "
            f"{IUPAC.decode()}; write an unknown base as N."
        )
    return sequence
