"""Assemblies are told by lengths and by name, and contradictions are said in a sentence."""

from pathlib import Path

import pytest

from genomix_data import samples
from genomix_data.assembly import (
    build_conflict,
    build_hint,
    fingerprint_differences,
    guess_build,
    named_build,
)
from genomix_data.genome import Genome


@pytest.mark.parametrize(
    ("lengths", "build"),
    [
        ([249250621, 16571], "GRCh37/hg19"),
        ([63025520], "GRCh37/hg19"),
        ([58617616], "GRCh38/hg38"),
        ([248387328], "T2T-CHM13v2.0/hs1"),
        ([195471971, 171031299], "GRCm38/mm10"),
        ([61420004], "GRCm39/mm39"),
        ([230218, 948066], "R64/sacCer3"),
        ([23513712, 25286936], "BDGP6/dm6"),
        ([15072434], "WBcel235/ce11"),
        ([16569, 48502], None),
        ([None], None),
        ([], None),
        ([248956422, 242193529, 249250621], "GRCh38/hg38"),
    ],
)
def test_guess_by_lengths(lengths: list[int | None], build: str | None) -> None:
    assert guess_build(lengths) == build


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("##reference=file:///refs/human_g1k_v37.fasta", "GRCh37/hg19"),
        ("hs37d5.fa.gz", "GRCh37/hg19"),
        ("##contig=<ID=chr1,assembly=GRCh38>", "GRCh38/hg38"),
        ("Homo_sapiens_assembly38.fasta", "GRCh38/hg38"),
        ("GRCh38.p14", "GRCh38/hg38"),
        ("chm13v2.0.fa", "T2T-CHM13v2.0/hs1"),
        ("Mus_musculus.GRCm39.dna.fa", "GRCm39/mm39"),
        ("sacCer3", "R64/sacCer3"),
        ("hg19ToHg38.over.chain", None),
        ("hg190", None),
        ("reference.fa", None),
    ],
)
def test_build_that_is_named(text: str, build: str | None) -> None:
    assert named_build(text) == build


def test_conflict_between_lengths_and_a_name() -> None:
    contigs = {"chr1": 249250621}
    message = build_conflict(contigs, "ref.fa", "##reference=GRCh38.fa", "your VCF")
    assert message == "ref.fa looks like GRCh37/hg19 by its contig lengths, but your VCF says GRCh38/hg38."
    assert build_conflict(contigs, "ref.fa", "hg19.fa", "your VCF") is None
    assert build_conflict(contigs, "ref.fa", "mine.fa", "your VCF") is None
    assert build_conflict({"a": 5}, "ref.fa", "hg38", "your VCF") is None


def test_hint() -> None:
    hint = build_hint({"1": 249250621}, {"chr1": 248956422})
    assert hint == " By the contig lengths the VCF is of GRCh37/hg19 and the FASTA is GRCh38/hg38."
    assert build_hint({"1": None}, {"a": 4}) == ""


def test_fingerprint_of_a_genome_names_the_assembly() -> None:
    assert Genome(samples.path("yeast_chrI.fa.gz")).fingerprint()["assembly"] == "R64/sacCer3"
    assert Genome(samples.path("lambda.fa.gz")).fingerprint()["assembly"] is None


def test_differences_of_fingerprints(tmp_path: Path) -> None:
    def fingerprint(name: str, text: str) -> dict[str, object]:
        (tmp_path / name).write_text(text)
        return Genome(tmp_path / name).fingerprint(content=True)

    one = fingerprint("one.fa", ">chr1\nACGT\n>chr2\nGG\n>chrM\nAA\n")
    assert fingerprint_differences(one, one) == []
    assert fingerprint_differences(one, fingerprint("b.fa", ">1\nacgt\n>2\nGG\n>MT\nAA\n")) == []
    assert fingerprint_differences(one, fingerprint("c.fa", ">1\nACGA\n>2\nGGC\n>3\nT\n")) == [
        "chr1 has other bases (MD5 9c1b2bd0b2ef5a4d7c7d2d6c1b6a6b0c, not f1f8f4bf413b16ad135722aa4591043e)".replace(
            "9c1b2bd0b2ef5a4d7c7d2d6c1b6a6b0c", Genome(tmp_path / "c.fa").md5("1")
        ),
        "chr2 has 3 bp, not 2",
        "without chrM",
        "3 more",
    ]
