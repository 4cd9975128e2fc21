"""Regions and targets: what bcftools gives, byte for byte, and a clear word where there is nothing to give."""

import os
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pysam
import pysam.bcftools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomix_data.contigs import ContigNames
from genomix_data.errors import GenomixError, InputFileError, ReferenceMismatchError
from genomix_data.interval import Interval
from genomix_data.regions import CONTIG_END, Regions, TargetFilter
from genomix_data.vcf import open_vcf

HEAD = (
    "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=500000>\n##contig=<ID=chr2,length=500000>\n"
    '##INFO=<ID=END,Number=1,Type=Integer,Description="x">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
)


def lines() -> list[str]:
    """A record each 997 bp on two contigs; each 7th a long deletion, each 11th a symbolic one with END."""
    made: list[str] = []
    for chrom in ("chr1", "chr2"):
        for i in range(400):
            pos = 1 + 997 * i
            ref, alt, info = "A", "C", "."
            if i % 7 == 0:
                ref, alt = "A" * 1500, "A"
            elif i % 11 == 0:
                alt, info = "<DEL>", f"END={pos + 40000}"
            made.append(f"{chrom}\t{pos}\tr{i}\t{ref}\t{alt}\t29.50\tPASS\t{info}")
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("regions")
    plain = folder / "plain.vcf"
    plain.write_text(HEAD + "".join(line + "\n" for line in lines()))
    found = {
        "plain": plain,
        "tbi": folder / "tbi.vcf.gz",
        "csi": folder / "csi.vcf.gz",
        "bcf": folder / "x.bcf",
    }
    for kind in ("tbi", "csi"):
        pysam.tabix_compress(str(plain), str(found[kind]))
        pysam.bcftools.index(f"--{kind}", str(found[kind]))
    pysam.bcftools.view("-Ob", "-o", str(found["bcf"]), str(plain), catch_stdout=False)
    pysam.bcftools.index(str(found["bcf"]))
    return found


def ids(
    path: Path,
    *,
    keep_bcf: bool = False,
    regions: Regions | str | None = None,
    targets: Regions | str | None = None,
) -> list[tuple[str, int, str]]:
    with open_vcf(path, keep_bcf=keep_bcf, regions=regions, targets=targets) as reader:
        return [(record.chrom, record.pos, record.id) for record in reader]


def bcftools(path: Path, *options: str) -> list[tuple[str, int, str]]:
    text = pysam.bcftools.view("--no-version", "-H", *options, str(path))
    return [(f[0], int(f[1]), f[2]) for f in (line.split("\t") for line in str(text).splitlines())]


REGIONS = st.builds(
    lambda chrom, first, length: f"{chrom}:{first}-{first + length}",
    st.sampled_from(["chr1", "chr2"]),
    st.integers(1, 420_000),
    st.sampled_from([0, 1, 900, 20_000, 200_000]),
) | st.sampled_from(["chr1", "chr2", "chr1:300000-", "chr2:998"])


@given(st.lists(REGIONS, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_regions_and_targets_are_those_of_bcftools(files: dict[str, Path], wanted: list[str]) -> None:
    text = ",".join(wanted)
    by_region = sorted(bcftools(files["csi"], "-r", text))
    for kind in ("tbi", "csi", "bcf"):
        assert ids(files[kind], regions=text) == by_region
    assert ids(files["bcf"], keep_bcf=True, regions=text) == by_region
    assert ids(files["plain"], targets=text) == sorted(bcftools(files["plain"], "-t", text))
    assert ids(files["csi"], targets=f"^{text}") == sorted(bcftools(files["plain"], "-t", f"^{text}"))


def test_columns_of_a_region_come_as_they_are(files: dict[str, Path]) -> None:
    with open_vcf(files["tbi"], regions="chr2:150000-160000") as reader:
        found = [b"\t".join(record.columns).decode() for record in reader]  # type: ignore[union-attr]
    assert found
    assert set(found) <= set(lines())
    assert all("\t29.50\t" in line for line in found)


@pytest.mark.parametrize("spelling", ["1:150000-160000", "{chr1}:150000-160000", "chr1:150,000-160,000"])
def test_other_spellings_of_a_region(files: dict[str, Path], spelling: str) -> None:
    expected = ids(files["csi"], regions="chr1:150000-160000")
    assert len(expected) > 10
    assert ids(files["csi"], regions=spelling) == expected
    inside = [row for row in expected if row[1] >= 150000]
    assert ids(files["plain"], targets=spelling) == inside


def test_region_files(files: dict[str, Path], tmp_path: Path) -> None:
    bed = tmp_path / "x.BED"
    bed.write_text("track name=x\nchr1\t149999\t160000\nchr9\t0\t10\n")
    table = tmp_path / "x.txt"
    table.write_text("# comment\n1 150000 160000\nchr9\t5\n")
    expected = ids(files["csi"], regions="chr1:150000-160000")
    for path in (bed, table):
        assert ids(files["csi"], regions=Regions.read(path)) == expected
        assert ids(files["bcf"], targets=Regions.read(path)) == [row for row in expected if row[1] >= 150000]
    left = ids(files["plain"], targets=Regions.read(f"^{bed}"))
    assert len(left) == 800 - sum(row[1] >= 150000 for row in expected)


def test_spellings_of_regions() -> None:
    def spans(text: str) -> list[tuple[str, int, int]]:
        return [(i.chrom, i.start, i.end) for i in Regions.parse(text).intervals]

    assert spans("chr1") == [("chr1", 0, CONTIG_END)]
    assert spans("chr1:5") == [("chr1", 4, 5)]
    assert spans("chr1:5-") == [("chr1", 4, CONTIG_END)]
    assert spans("chr1:1,234,567-2,000,000,chr2:7") == [("chr1", 1234566, 2000000), ("chr2", 6, 7)]
    assert spans("1,2,X") == [(name, 0, CONTIG_END) for name in "12X"]
    assert spans("{HLA-A*01:01}:2-3") == [("HLA-A*01:01", 1, 3)]


@pytest.mark.parametrize("text", ["", "chr1:5-4", "chr1:0-4", "chr1,,chr2", "chr1:9" + "9" * 30, "{chr1"])
def test_what_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(GenomixError, match="region"):
        Regions.parse(text)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "chr1\tten\n", "a.txt:1: expected contig, position"),
        ("a.txt", "chr1\t0\t5\n", "1-based and first <= last"),
        ("a.txt", "# nothing\n", "has no region"),
        ("a.bed", "chr1\t5\n", "at least three columns"),
    ],
)
def test_what_is_no_region_file_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputFileError, match=message):
        Regions.read(path)


def test_unknown_contig_is_named_with_the_known_ones(files: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("csi", "bcf"):
        with pytest.raises(ReferenceMismatchError, match=r"contig 'chr3'.*chr1, chr2"):
            ids(files[kind], regions="chr1:5-9,chr3")
    with pytest.raises(ReferenceMismatchError, match=r"contig 'chr3'.*chr1, chr2"):
        ids(files["plain"], targets="chr1:5-9,chr3")
    elsewhere = tmp_path / "x.bed"
    elsewhere.write_text("chr8\t1\t2\n")
    with pytest.raises(ReferenceMismatchError, match=r"none of the contigs of the regions 'x\.bed'"):
        ids(files["csi"], regions=Regions.read(elsewhere))
    undeclared = tmp_path / "undeclared.vcf"
    undeclared.write_text(HEAD.replace("##contig=<ID=chr", "##was=<ID=") + lines()[0] + "\n")
    with pytest.raises(ReferenceMismatchError, match=r"contig 'chrX'.*chr1"):
        ids(undeclared, targets="chrX")
    assert len(ids(undeclared, targets="1")) == 1


def test_regions_without_index_say_which_command_makes_one(files: dict[str, Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare.vcf.gz"
    shutil.copy(files["csi"], bare)
    with pytest.raises(InputFileError, match=r"no index.*`bcftools index bare\.vcf\.gz`"):
        ids(bare, regions="chr1")
    with pytest.raises(
        InputFileError, match=r"no index.*`bgzip plain\.vcf && bcftools index plain\.vcf\.gz`"
    ):
        ids(files["plain"], regions="chr1")
    with pytest.raises(InputFileError, match="standard input has no index"):
        open_vcf("-", regions="chr1")
    with pytest.raises(InputFileError, match="give them as targets"):
        ids(files["csi"], regions="^chr1")


def test_damaged_and_foreign_indexes_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "x.vcf.gz"
    shutil.copy(files["csi"], path)
    index = tmp_path / "x.vcf.gz.csi"
    whole = Path(f"{files['csi']}.csi").read_bytes()
    for data in (b"", b"no index", whole[:60], whole[:-40]):
        index.write_bytes(data)
        with pytest.raises(InputFileError, match="is damaged"):
            ids(path, regions="chr1:1-100000")
    long = tmp_path / "long.vcf"
    long.write_text(
        HEAD + "".join(f"chr1\t{i}\t.\tA\tC\t.\t.\tX={i * 7919 % 9973}\n" for i in range(1, 90000))
    )
    pysam.tabix_index(str(long), preset="vcf", csi=True, force=True)
    shutil.copy(f"{long}.gz.csi", index)
    with pytest.raises(InputFileError, match=r"does not fit|is truncated"):
        ids(path, regions="chr1:80000-90000")


def test_damage_inside_a_region_is_not_passed_over(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "x.vcf.gz"
    data = bytearray(files["csi"].read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    shutil.copy(f"{files['csi']}.csi", f"{path}.csi")
    os.utime(f"{path}.csi")
    with pytest.raises(InputFileError, match="damaged"):
        ids(path, regions="chr1,chr2")


SPANS = st.lists(
    st.tuples(st.sampled_from(["chr1", "chr2"]), st.integers(0, 50), st.integers(1, 20)), min_size=1
)


@given(SPANS)
def test_merged_regions_and_targets_hold_the_same_bases_as_the_intervals(
    spans: list[tuple[str, int, int]],
) -> None:
    intervals = [Interval(chrom, start, start + length) for chrom, start, length in spans]
    bases = {(i.chrom, base) for i in intervals for base in range(i.start, i.end)}
    regions = Regions.of(intervals)
    merged = regions.merged(ContigNames(["chr1", "chr2"]))
    assert {(c, base) for c, parts in merged.items() for a, b in parts for base in range(a, b)} == bases
    for parts in merged.values():
        assert all(before[1] < after[0] for before, after in pairwise(parts))
    targets = TargetFilter(regions, ["chr1", "chr2"])
    others = TargetFilter(replace(regions, is_excluded=True), [])
    for chrom in ("chr1", "chr2"):
        for base in range(75):
            assert targets.accepts(chrom, base + 1) == ((chrom, base) in bases)
            assert others.accepts(chrom, base + 1) != targets.accepts(chrom, base + 1)


@given(st.builds(Interval, st.sampled_from(["chr1", "HLA-A*01"]), st.integers(0, 10**9), st.just(2 * 10**9)))
def test_a_region_reads_back_what_an_interval_prints(interval: Interval) -> None:
    assert Regions.parse(str(interval)).intervals == (interval,)
