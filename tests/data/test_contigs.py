"""Contig names: found under every usual spelling, never under an ambiguous one."""

from pathlib import Path

import pytest

from genomix_data.contigs import ContigNames, read_contig_map
from genomix_data.errors import GenomixError, InputFileError

UCSC = ContigNames(["chr1", "chr2", "chrX", "chrM", "chrUn_KI270302v1"])
ENSEMBL = ContigNames(["1", "2", "X", "MT", "KI270302.1"])


@pytest.mark.parametrize(
    ("name", "ucsc", "ensembl"),
    [
        ("chr1", "chr1", "1"),
        ("1", "chr1", "1"),
        ("Chr1", "chr1", "1"),
        ("CHR1", "chr1", "1"),
        ("X", "chrX", "X"),
        ("M", "chrM", "MT"),
        ("MT", "chrM", "MT"),
        ("chrM", "chrM", "MT"),
        ("chrMT", "chrM", "MT"),
        ("3", None, None),
        ("chr", None, None),
        ("", None, None),
        ("x", None, None),
        ("chr01", None, None),
    ],
)
def test_spellings(name: str, ucsc: str | None, ensembl: str | None) -> None:
    assert (UCSC.resolve(name), ENSEMBL.resolve(name)) == (ucsc, ensembl)
    assert (name in UCSC) == (ucsc is not None)


def test_two_contigs_that_differ_by_chr_are_never_mixed_up() -> None:
    both = ContigNames(["1", "chr1", "2"])
    assert both.resolve("1") == "1"
    assert both.resolve("chr1") == "chr1"
    assert both.resolve("Chr1") is None
    assert both.candidates("Chr1") == ["1", "chr1"]
    assert both.resolve("chr2") == "2"


def test_three_mitochondria_resolve_by_exact_name_only() -> None:
    names = ContigNames(["M", "MT", "chrM"])
    assert [names.resolve(name) for name in ("M", "MT", "chrM", "chrMT")] == ["M", "MT", "chrM", None]


def test_resolve_all_keeps_the_order_and_says_what_is_missing() -> None:
    assert UCSC.resolve_all(["2", "9", "1"]) == {"2": "chr2", "9": None, "1": "chr1"}
    assert list(UCSC.resolve_all(["2", "9", "1"])) == ["2", "9", "1"]


def test_suggestion() -> None:
    assert UCSC.suggest("chrx") == "chrX"
    assert UCSC.suggest("scaffold_99") is None


def test_aliases_lead_either_way_and_may_serve_other_genomes() -> None:
    table = {"NC_000001.11": "chr1", "chrX": "NC_000023.11", "NC_000009.12": "chr9", "chr2": "chr2"}
    names = ContigNames(UCSC.names, table)
    assert names.resolve("NC_000001.11") == "chr1"
    assert names.resolve("NC_000023.11") == "chrX"
    assert names.resolve("NC_000009.12") is None


def test_aliases_may_not_join_two_contigs() -> None:
    with pytest.raises(GenomixError, match="the FASTA has both"):
        ContigNames(["a", "b"], {"a": "b"})
    with pytest.raises(GenomixError, match="leads from 'q' to both"):
        ContigNames(["a", "b"], {"q": "a", "b": "q"})


def test_contig_map_file(tmp_path: Path) -> None:
    file = tmp_path / "map.tsv"
    file.write_text("# refseq ucsc\nNC_1\tchr1\n\nNC_2 chr2\n")
    assert read_contig_map(file) == {"NC_1": "chr1", "NC_2": "chr2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b c\n", r"map.tsv:1: a contig map has two columns"),
        ("a b\na c\n", r"map.tsv:2: 'a' comes twice"),
        ("# nothing\n", "is empty"),
    ],
)
def test_bad_contig_maps(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "map.tsv"
    file.write_text(text)
    with pytest.raises(InputFileError, match=message):
        read_contig_map(file)
    with pytest.raises(InputFileError, match="does not exist"):
        read_contig_map(tmp_path / "none.tsv")
