"""Symbolic alleles as letters, by their definition in the VCF specification."""

import pytest

from genomix_data.alphabet import reverse_complement
from genomix_data.symbolic import spell_out

CONTIG = b"ACGTTGCAAC"


def spelled(
    alt: str, info: dict[str, str | None], *, pos: int = 3, number: int = 0, longest: int = 50
) -> object:
    base = CONTIG[pos - 1 : pos].decode()
    return spell_out(pos, base, alt, number, info, lambda a, b: CONTIG[a:b], len(CONTIG), longest=longest)


@pytest.mark.parametrize(
    ("alt", "info", "expected"),
    [
        ("<DEL>", {"END": "6"}, (3, "GTTG", "G")),
        ("<DEL>", {"SVLEN": "-3"}, (3, "GTTG", "G")),
        ("<DEL>", {"SVLEN": "3", "END": "9"}, (3, "GTTG", "G")),
        ("<DEL:ME:ALU>", {"END": "4"}, (3, "GT", "G")),
        ("<DUP>", {"END": "6"}, (3, "G", "GTTG")),
        ("<DUP:TANDEM>", {"END": "6"}, (3, "G", "GTTG")),
        ("<INV>", {"END": "6"}, (3, "GTTG", "G" + reverse_complement("TTG"))),
        ("<INS>", {"SEQ": "acgt"}, (3, "G", "GACGT")),
        ("<INS>", {"SVINSSEQ": "T"}, (3, "G", "GT")),
        ("<INS>", {"SVLEN": "4"}, None),
        ("<INS>", {"SEQ": "ACN"}, None),
        ("<INS:ME:L1>", {"END": "3"}, None),
        ("<DEL>", {}, None),
        ("<DEL>", {"END": "3"}, None),
        ("<DEL>", {"END": "2"}, None),
        ("<DEL>", {"END": "x", "SVLEN": None}, None),
        ("<DEL>", {"END": "11"}, None),
        ("<CNV>", {"END": "6"}, None),
        ("<NON_REF>", {"END": "6"}, None),
        ("<*>", {"END": "6"}, None),
        ("G]x:1]", {"END": "6"}, None),
    ],
)
def test_spell_out(alt: str, info: dict[str, str | None], expected: object) -> None:
    assert spelled(alt, info) == expected


def test_each_allele_has_its_own_length_and_letters() -> None:
    info: dict[str, str | None] = {"SVLEN": "-2,-4", "SEQ": "A,CC"}
    assert spelled("<DEL>", info, number=1) == (3, "GTTGC", "G")
    assert spelled("<DEL>", info, number=2) is None
    assert spelled("<INS>", info, number=1) == (3, "G", "GCC")


def test_too_long_is_not_read() -> None:
    def never(start: int, end: int) -> bytes:
        raise AssertionError((start, end))

    assert spell_out(1, "A", "<DEL>", 0, {"END": "900"}, never, 1000, longest=99) == "TOO_LONG"
    assert spelled("<INS>", {"SEQ": "ACGT"}, longest=4) == "TOO_LONG"
    assert spelled("<INS>", {"SEQ": "ACG"}, longest=4) == (3, "G", "GACG")


def test_places_that_are_none() -> None:
    fetch = CONTIG.__getitem__
    for pos, ref in ((0, "N"), (11, "A"), (3, "GT")):
        assert (
            spell_out(pos, ref, "<DEL>", 0, {"END": "6"}, lambda a, b: fetch(slice(a, b)), 10, longest=9)
            is None
        )
