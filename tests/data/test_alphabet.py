"""Complements of every code, in bytes, text and arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomix_data.alphabet import (
    IUPAC,
    find_non_iupac,
    require_iupac,
    reverse_complement,
    reverse_complement_array,
)
from genomix_data.errors import GenomixError

# What each code stands for; the complement of a code stands for the complements.
BASES = {
    "A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
PAIR = {"A": "T", "C": "G", "G": "C", "T": "A"}
dna = st.text(alphabet="".join(BASES) + "".join(BASES).lower(), max_size=200)


@pytest.mark.parametrize("code", BASES)
def test_complement_of_each_code(code: str) -> None:
    expected = {PAIR[base] for base in BASES[code]}
    assert set(BASES[reverse_complement(code)]) == expected
    assert reverse_complement(code.lower()) == reverse_complement(code).lower()


@given(dna)
def test_reverse_complement_is_its_own_inverse(sequence: str) -> None:
    assert reverse_complement(reverse_complement(sequence)) == sequence
    data = sequence.encode()
    assert reverse_complement(data) == reverse_complement(sequence).encode()
    array = np.frombuffer(data, dtype=np.uint8)
    assert reverse_complement_array(array).tobytes() == reverse_complement(data)


def test_arrays_of_many_sequences() -> None:
    batch = np.frombuffer(b"AACGTNry", dtype=np.uint8).reshape(2, 4)
    assert [row.tobytes() for row in reverse_complement_array(batch)] == [b"CGTT", b"ryNA"]


def test_rna_comes_back_as_dna() -> None:
    assert reverse_complement("ACGU") == "ACGT"
    assert reverse_complement("u") == "a"


def test_other_letters_are_kept() -> None:
    assert reverse_complement("AC-*.") == ".*-GT"


def test_find_non_iupac_knows_exactly_sixteen_letters() -> None:
    legal = {i for i in range(256) if find_non_iupac(bytes([i])) is None}
    assert legal == set(IUPAC) | set(IUPAC.lower())
    assert len(set(IUPAC)) == 16
    assert find_non_iupac(b"") is None
    assert find_non_iupac(b"ACGTXACGX") == 4


def test_require_iupac_names_the_place() -> None:
    assert require_iupac(b"ACGT", "chr1", 0) == b"ACGT"
    with pytest.raises(GenomixError, match=r"'X' at chr1:13 is not a nucleotide code"):
        require_iupac(b"ACX", "chr1", 10)
