"""Haplotypes: those of bcftools consensus, coordinates that come back, a reason for all that is left out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam
import pysam.bcftools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix_data.errors import GenomixError, InputFileError
from genomix_data.genome import Genome
from genomix_data.haplotypes import REASONS, HaplotypePair, haplotypes, read_haplotypes
from genomix_data.interval import Interval
from genomix_data.vcf import VcfRecord

CONTIG = "".join("ACGT"[i] for i in np.random.default_rng(4).integers(0, 4, 400))
WHOLE = Interval("chr1", 0, 400)
HEAD = (
    "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=400>\n"
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="x">\n##FORMAT=<ID=PS,Number=1,Type=Integer,Description="x">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tONE\n"
)
Row = tuple[int, str, str, str]
Build = Callable[..., HaplotypePair]


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = tmp_path_factory.mktemp("genome") / "x.fa"
    path.write_text(f">chr1\n{CONTIG}\n")
    return Genome(path)


def line(row: Row) -> str:
    pos, ref, alt, call = row
    keys = "GT:PS" if ":" in call else "GT"
    return f"chr1\t{pos}\t.\t{ref}\t{alt}\t.\t.\t.\t{keys}\t{call}"


def record(row: Row) -> VcfRecord:
    return VcfRecord.from_line(line(row).encode(), f"row {row[0]}", 1)


def build(genome: Genome, *rows: Row, interval: Interval = WHOLE) -> HaplotypePair:
    return haplotypes([record(row) for row in rows], genome, interval)


def ref(pos: int, length: int = 1) -> str:
    return CONTIG[pos - 1 : pos - 1 + length]


def other(pos: int) -> str:
    return "ACGT"["ACGT".index(ref(pos)) - 1]


def test_no_variants_give_the_reference(genome: Genome) -> None:
    for rows in ((), ((10, ref(10), other(10), "0|0"),), ((10, ref(10), ".", "0/0"),)):
        pair = build(genome, *rows)
        assert pair.bases == (CONTIG.encode(), CONTIG.encode())
        assert pair.skipped == {}
        assert pair.first.positions.tolist() == list(range(400))


def test_each_allele_goes_to_its_side(genome: Genome) -> None:
    pair = build(
        genome,
        (10, ref(10), other(10), "0|1"),
        (20, ref(20), other(20), "1|0"),
        (30, ref(30), f"{other(30)},{ref(30)}GG", "1|2"),
        (40, ref(40), other(40), "1/1"),
    )
    first, second = (bases.decode() for bases in pair.bases)
    assert first[19] == other(20)
    assert second[9] == other(10)
    assert (first[9], second[19]) == (ref(10), ref(20))
    assert first[29] == other(30)
    assert second[29:32] == f"{ref(30)}GG"
    assert (first[39], second[41]) == (other(40), other(40))
    assert str(pair.second.applied[0]) == f"chr1:10:{ref(10)}>{other(10)}"
    assert len(first) == 400
    assert len(second) == 402


def test_indels_shift_coordinates(genome: Genome) -> None:
    pair = build(genome, (10, ref(10, 4), ref(10), "1|1"), (20, ref(20), f"{ref(20)}TT", "1|1"))
    hap = pair.first
    assert hap.bases.decode() == CONTIG[:10] + CONTIG[13:20] + "TT" + CONTIG[20:]
    assert [hap.index_of(p) for p in (9, 10, 12, 13, 19, 20, 399)] == [9, None, None, 10, 16, 19, 398]
    assert hap.positions[16:20].tolist() == [19, 19, 19, 20]
    assert hap.index_of(400) is None


def test_an_interval_is_a_part_of_the_whole(genome: Genome) -> None:
    rows = [
        (50, ref(50, 3), ref(50), "1|0"),
        (60, ref(60), other(60), "0|1"),
        (90, ref(90, 3), ref(90), "1|1"),
    ]
    pair = build(genome, *rows, interval=Interval("chr1", 51, 91))
    assert pair.skipped == {"edge": 3}
    assert pair.second.bases.decode() == CONTIG[51:59] + other(60) + CONTIG[60:91]
    inside = build(genome, *rows, interval=Interval("chr1", 50, 92))
    assert inside.first.bases.decode() == CONTIG[52:90]
    assert inside.first.positions[0] == 52


@pytest.mark.parametrize(
    ("rows", "reason", "n_copies"),
    [
        ([(10, ref(10), other(10), "0/1")], "unphased", 1),
        ([(10, ref(10), f"{other(10)},{ref(10)}A", "1/2")], "unphased", 2),
        ([(10, ref(10), "<DEL>", "1|1")], "symbolic", 2),
        ([(10, ref(10), f"{ref(10)}[chr2:5[", "0|1")], "symbolic", 1),
        ([(10, ref(10), "*", "0|1")], "star", 1),
        ([(10, other(10), ref(10), "0|1")], "ref_mismatch", 1),
        ([(10, ref(10), other(10), ".")], "no_genotype", 1),
        ([(10, ref(10), other(10), "1|1|1")], "ploidy", 1),
        ([(400, ref(400) + "A", ref(400), "0|1")], "edge", 1),
        ([(400, ref(400) + other(400), other(400), "0|1")], "ref_mismatch", 1),
        ([(10, ref(10, 4), ref(10), "1|1"), (12, ref(12), other(12), "0|1")], "overlapping", 1),
        ([(10, ref(10), ref(10) + "A", "0|1"), (10, ref(10), ref(10) + "C", "0|1")], "overlapping", 1),
    ],
)
def test_what_cannot_be_applied_is_counted(
    genome: Genome, rows: list[Row], reason: str, n_copies: int
) -> None:
    pair = build(genome, *rows)
    assert pair.skipped == {reason: n_copies}
    assert reason in REASONS


def test_half_calls_and_haploid_calls(genome: Genome) -> None:
    pair = build(genome, (10, ref(10), other(10), ".|1"), (20, ref(20), other(20), "1"))
    assert pair.skipped == {"missing": 1}
    assert pair.second.bases.decode()[9] == other(10)
    assert [bases.decode()[19] for bases in pair.bases] == [other(20)] * 2


def test_neighbours_that_share_an_anchor_do_not_overlap(genome: Genome) -> None:
    """A deletion's first base is not changed, so another record may change it; an insertion may stand beside it."""
    pair = build(genome, (10, ref(10, 3), ref(10), "1|0"), (10, ref(10), other(10), "1|0"))
    assert pair.first.bases.decode() == CONTIG[:9] + other(10) + CONTIG[12:]
    assert pair.skipped == {}
    beside = build(genome, (10, ref(10, 3), ref(10), "1|0"), (12, ref(12), ref(12) + "GG", "1|0"))
    assert beside.first.bases.decode() == CONTIG[:10] + "GG" + CONTIG[12:]
    assert beside.first.index_of(9) == 9
    assert beside.first.index_of(11) is None


def test_phase_sets_are_not_mixed(genome: Genome) -> None:
    rows: list[Row] = [
        (10, ref(10), other(10), "0|1:10"),
        (20, ref(20), other(20), "1|0:20"),
        (30, ref(30), other(30), "1|0:20"),
        (40, ref(40), other(40), "1|1:10"),
        (50, ref(50), other(50), "0|1:."),
    ]
    pair = build(genome, *rows)
    assert pair.phase_set == "20"
    assert pair.skipped == {"other_phase_set": 2}
    assert [v.pos for v in pair.first.applied] == [20, 30, 40]
    assert [v.pos for v in pair.second.applied] == [40]
    assert build(genome, (40, ref(40), other(40), "1/1")).phase_set is None


@st.composite
def phased_rows(draw: st.DrawFn) -> list[Row]:
    """Draw sorted records that leave a base between each other, with all phased calls."""
    rows: list[Row] = []
    pos = 1
    while (pos := pos + draw(st.integers(1, 40))) < 390:
        n_ref = draw(st.integers(1, 4))
        alts = draw(st.lists(st.text("ACGT", max_size=4), min_size=1, max_size=2, unique=True))
        # As callers write them: an SNV, or an indel with the base before it.
        found = [ref(pos) + tail for tail in alts] if n_ref > 1 else [other(pos)]
        n_ref = n_ref if n_ref > 1 or len(found[0]) > 1 else 1
        found = [alt for alt in found if alt != ref(pos, n_ref)]
        if found:
            calls = st.integers(0, len(found))
            rows.append((pos, ref(pos, n_ref), ",".join(found), f"{draw(calls)}|{draw(calls)}"))
        pos += n_ref
    return rows


@given(phased_rows())
@settings(max_examples=40, deadline=None)
def test_against_bcftools_consensus(
    genome: Genome, tmp_path_factory: pytest.TempPathFactory, rows: list[Row]
) -> None:
    folder = tmp_path_factory.mktemp("consensus")
    (folder / "x.vcf").write_text(HEAD + "".join(line(row) + "\n" for row in rows))
    packed = folder / "x.vcf.gz"
    pysam.tabix_compress(str(folder / "x.vcf"), str(packed))
    pysam.bcftools.index(str(packed))
    pair = read_haplotypes(packed, genome, WHOLE)
    assert not pair.skipped
    for number, haplotype in ((1, pair.first), (2, pair.second)):
        found = str(
            pysam.bcftools.consensus("-H", str(number), "-s", "ONE", "-f", str(genome.path), str(packed))
        )
        assert haplotype.bases.decode() == "".join(found.splitlines()[1:])
        assert len(haplotype.positions) == len(haplotype.bases)
        assert (np.diff(haplotype.positions) >= 0).all()
        changed = {p for v in haplotype.applied for p in range(v.change[0], v.change[1])}
        for position in set(range(400)) - changed:
            index = haplotype.index_of(position)
            assert index is not None
            assert chr(haplotype.bases[index]) == CONTIG[position]


def test_files_with_and_without_an_index_agree(genome: Genome, tmp_path: Path) -> None:
    rows: list[Row] = [
        (20, ref(20, 8), ref(20), "1|0"),
        (40, ref(40), other(40), "0|1"),
        (300, "N", "A", "1|1"),
    ]
    plain = tmp_path / "x.vcf"
    plain.write_text(HEAD + "".join(line(row) + "\n" for row in rows))
    packed = tmp_path / "x.vcf.gz"
    pysam.tabix_compress(str(plain), str(packed))
    pysam.bcftools.index(str(packed))
    interval = Interval("1", 25, 60)
    one, two = read_haplotypes(plain, genome, interval), read_haplotypes(packed, genome, interval, "ONE")
    assert one.bases == two.bases
    assert one.skipped == two.skipped == {"edge": 1}


def test_bad_input(genome: Genome, tmp_path: Path) -> None:
    path = tmp_path / "x.vcf"
    path.write_text(HEAD + line((10, ref(10), other(10), "0|7")) + "\n")
    with pytest.raises(GenomixError, match=r"sample 'TWO' is not there.*ONE"):
        read_haplotypes(path, genome, WHOLE, "TWO")
    with pytest.raises(InputFileError, match=r"x\.vcf:6: GT is '0\|7'; expected numbers from 0 to 1"):
        read_haplotypes(path, genome, WHOLE)
    path.write_text(HEAD.replace("\tONE", "\tONE\tTWO"))
    with pytest.raises(GenomixError, match=r"no sample was named.*ONE, TWO"):
        read_haplotypes(path, genome, WHOLE)
