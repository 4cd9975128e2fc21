"""The same sequence on either strand."""

from genomix_data.alphabet import reverse_complement


def either_strand(sequence: str) -> str:
    """Return the smaller of a sequence and its reverse complement, in upper case with U as T.

    >>> either_strand("ttgc") == either_strand("GCAA")
    True
    """
    forward = one_spelling(sequence)
    return min(forward, reverse_complement(forward))


def one_spelling(sequence: str) -> str:
    """Return a sequence in upper case with U as T."""
    return sequence.upper().replace("U", "T")
