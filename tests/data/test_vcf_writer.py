"""What is written: columns byte for byte, INFO with the new keys, whole files only."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import pysam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genomix_data.errors import ConfigError, InputFileError
from genomix_data.vcf import VcfRecord, VcfWriter, open_vcf

FIXTURES = Path(__file__).parent.parent / "fixtures" / "vcf"
TEXT_FIXTURES = sorted(path.name for path in FIXTURES.glob("*.vcf"))
DECLARED = (
    '##INFO=<ID=GMX_LLR,Number=A,Type=Float,Description="x, y">',
    '##INFO=<ID=GMX_STATUS,Number=A,Type=String,Description="x">',
)
HEAD = "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=1000>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"


def annotate(source: Path, out: Path, *, write_index: bool = False, index_format: str = "csi") -> int:
    """Give the n-th allele of the file the score ``-n / 3`` and return how many records there were."""
    keep_bcf = out.suffix == ".bcf"
    n_records = n_alleles = 0
    with open_vcf(source, keep_bcf=keep_bcf) as reader:
        writer = VcfWriter(
            out,
            reader.header.annotated(DECLARED, replace_info="GMX_", replace_meta="genomix"),
            write_index=write_index,
            index_format=index_format,  # type: ignore[arg-type]
            drop_prefix="GMX_",
            dictionary=reader.dictionary,
        )
        with writer:
            for record in reader:
                scores: Sequence[float | None] = [-(n_alleles + i) / 3 for i in range(len(record.alts))] or [
                    None
                ]
                statuses: Sequence[str | None] = ["OK"] * len(record.alts) or [None]
                writer.write(record, {"GMX_LLR": scores, "GMX_STATUS": statuses})
                n_alleles += len(record.alts)
                n_records += 1
    return n_records


def records_of(path: Path) -> list[VcfRecord]:
    with open_vcf(path) as reader:
        return list(reader)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TEXT_FIXTURES)
@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz"])
def test_text_columns_come_back_byte_for_byte(tmp_path: Path, name: str, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    before = records_of(FIXTURES / name)
    assert annotate(FIXTURES / name, out) == len(before) > 0
    after = records_of(out)
    for a, b in zip(before, after, strict=True):
        assert b.columns[:7] == a.columns[:7]
        assert b.columns[8:] == a.columns[8:]
        kept = {key: value for key, value in b.info.items() if not key.startswith("GMX_")}
        assert kept == a.info
        assert len(str(b.info["GMX_STATUS"]).split(",")) == max(len(a.alts), 1)


@pytest.mark.parametrize("name", TEXT_FIXTURES)
def test_text_becomes_bcf_that_htslib_reads(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out.bcf"
    n_records = annotate(FIXTURES / name, out)
    with pysam.VariantFile(str(out)) as found:
        rows = [(row.chrom, row.pos, row.ref, row.info.get("GMX_STATUS")) for row in found]
    assert len(rows) == n_records
    before = records_of(FIXTURES / name)
    assert [row[:3] for row in rows] == [(a.chrom, a.pos, a.ref) for a in before]


def test_undeclared_names_survive_into_bcf(tmp_path: Path) -> None:
    source = tmp_path / "in.vcf"
    source.write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\n"
        "chrX\t5\t.\tA\t<DEL>\t29.0\todd\tNEW=1,x;FLAG\tGT:ZZ\t0|1:q\n"
    )
    out = tmp_path / "out.bcf"
    annotate(source, out)
    with pysam.VariantFile(str(out)) as found:
        (row,) = list(found)
        assert list(row.filter) == ["odd"]
        assert row.info["NEW"] == ("1", "x")
        assert row.info["FLAG"] is True
        assert "END" not in row.info  # what pysam would have added
        assert row.samples["S1"]["ZZ"] == ("q",)
        assert row.samples["S1"].phased
        assert row.info["GMX_LLR"] == (0.0,)


@pytest.mark.parametrize("name", ["uncompressed_2_2.bcf", "version_2_1.bcf"])
def test_bcf_to_bcf_keeps_every_number(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out.bcf"
    annotate(FIXTURES / name, out)
    with open_vcf(FIXTURES / name, keep_bcf=True) as reader:
        before = list(reader)
    with open_vcf(out, keep_bcf=True) as reader:
        after = list(reader)
    for a, b in zip(before, after, strict=True):
        size = len(a.shared)  # type: ignore[union-attr]
        assert b.shared[24:size] == a.shared[24:]  # type: ignore[union-attr]
        assert b.shared[:16] == a.shared[:16]  # type: ignore[union-attr]
        assert b.individual == a.individual  # type: ignore[union-attr]
    with pysam.VariantFile(str(out)) as found:
        n_alleles = 0
        for row in found:
            n_alts = len(row.alts or ())
            wanted = [-(n_alleles + i) / 3 for i in range(n_alts)]
            assert list(row.info["GMX_LLR"])[:n_alts] == pytest.approx(wanted, rel=1e-6)
            n_alleles += n_alts
    assert n_alleles > 0


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf"])
def test_own_keys_are_replaced_not_doubled(tmp_path: Path, suffix: str) -> None:
    once, twice = tmp_path / f"once{suffix}", tmp_path / f"twice{suffix}"
    annotate(FIXTURES / "phased.vcf", once)
    annotate(once, twice)
    first, second = records_of(once), records_of(twice)
    assert [b.columns for b in second] == [a.columns for a in first]
    with open_vcf(twice) as reader:
        assert sum("ID=GMX_LLR" in line for line in reader.header.meta) == 1


def test_many_values_and_long_strings_in_bcf(tmp_path: Path) -> None:
    """More than 14 alleles need the long form of BCF's lengths."""
    source = tmp_path / "in.vcf"
    alts = ",".join("A" * n for n in range(2, 42))
    source.write_text(f"{HEAD}\nchr1\t5\t.\tA\t{alts}\t.\t.\t.\n")
    first, second = tmp_path / "a.bcf", tmp_path / "b.bcf"
    annotate(source, first)
    annotate(first, second)
    with pysam.VariantFile(str(second)) as found:
        (row,) = list(found)
    assert list(row.info["GMX_LLR"]) == pytest.approx([-i / 3 for i in range(40)], rel=1e-6)
    assert row.info["GMX_STATUS"] == ("OK",) * 40


@pytest.mark.parametrize(
    ("name", "index_format"), [("o.vcf.gz", "csi"), ("o.vcf.gz", "tbi"), ("o.bcf", "csi")]
)
def test_index_is_written_and_serves(tmp_path: Path, name: str, index_format: str) -> None:
    source = tmp_path / "in.vcf"
    source.write_text(HEAD + "".join(f"\nchr1\t{10 * i}\t.\tA\tC\t.\t.\t." for i in range(1, 50)) + "\n")
    out = tmp_path / name
    annotate(source, out, write_index=True, index_format=index_format)
    with pysam.VariantFile(str(out), index_filename=f"{out}.{index_format}") as found:
        assert [row.pos for row in found.fetch("chr1", 95, 121)] == [100, 110, 120]
    assert Path(f"{out}.{index_format}").stat().st_mtime_ns >= out.stat().st_mtime_ns


@pytest.mark.parametrize("order", [("chr1\t20", "chr1\t10"), ("chr1\t20", "chr2\t1", "chr1\t30")])
def test_index_of_unsorted_records_is_refused(tmp_path: Path, order: tuple[str, ...]) -> None:
    source = tmp_path / "in.vcf"
    source.write_text(HEAD + "".join(f"\n{site}\t.\tA\tC\t.\t.\t." for site in order) + "\n")
    with pytest.raises(InputFileError, match="an index needs sorted records"):
        annotate(source, tmp_path / "o.vcf.gz", write_index=True)
    assert [path.name for path in tmp_path.iterdir()] == ["in.vcf"]
    assert annotate(source, tmp_path / "o.vcf.gz") == len(order)


@pytest.mark.parametrize(("name", "index_format"), [("o.vcf", "csi"), ("o.bcf", "tbi")])
def test_index_that_cannot_be_is_refused(tmp_path: Path, name: str, index_format: str) -> None:
    with pytest.raises(ConfigError, match="index"):
        annotate(FIXTURES / "phased.vcf", tmp_path / name, write_index=True, index_format=index_format)


@pytest.mark.parametrize("name", ["o.vcf", "o.vcf.gz", "o.bcf"])
def test_failure_leaves_nothing_and_keeps_the_old_file(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    out.write_bytes(b"old")
    with open_vcf(FIXTURES / "phased.vcf") as reader:
        writer = VcfWriter(out, reader.header)
        with pytest.raises(KeyboardInterrupt), writer:  # noqa: PT012 - the failure comes amid the writing
            writer.write(next(iter(reader)), {})
            raise KeyboardInterrupt
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_text_that_cannot_be_bcf_is_refused_with_a_way_out(tmp_path: Path) -> None:
    source = tmp_path / "in.vcf"
    source.write_text(f"{HEAD}\nchr1\t10\t.\tA\tC\tInf?\t.\t.\n".replace("\t10\t", "\t99999999999\t"))
    with pytest.raises(InputFileError, match=r"cannot be written as BCF.*-O z"):
        annotate(source, tmp_path / "o.bcf")
    assert not (tmp_path / "o.bcf").exists()


def test_bgzf_of_data_that_does_not_compress(tmp_path: Path) -> None:
    import random

    noise = random.Random(1)
    source = tmp_path / "in.vcf"
    body = "".join(chr(noise.randrange(33, 126)) for _ in range(300_000)).replace(";", "_").replace("=", "_")
    source.write_text(f"{HEAD}\nchr1\t10\t{body}\tA\tC\t.\t.\t.\n")
    out = tmp_path / "o.vcf.gz"
    annotate(source, out)
    assert gzip.decompress(out.read_bytes()).split(b"\t")[9].decode() == body
    with open_vcf(out) as reader:
        assert [record.id for record in reader] == [body]


_FIELD = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="\x7f\x85\xa0"),
    min_size=1,
    max_size=8,
)
_RECORD = st.tuples(
    _FIELD.filter(lambda text: not text.startswith("#")),
    st.integers(0, 2**31 - 1).map(str),
    _FIELD,
    st.text("ACGTNacgt", min_size=1, max_size=5),
    st.one_of(
        st.just("."),
        st.lists(st.sampled_from(["A", "<DEL>", "*", "A[chr1:5["]), min_size=1, max_size=4).map(",".join),
    ),
    st.sampled_from([".", "29.0", "1e-3", "29"]),
    st.sampled_from([".", "PASS", "q10;s50"]),
    st.one_of(
        st.just("."),
        st.lists(_FIELD.filter(lambda t: not t.startswith("GMX_")), min_size=1, max_size=3).map(";".join),
    ),
    st.just("GT:DP"),
    _FIELD,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(_RECORD, max_size=5))
def test_any_record_comes_back(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    source, out = tmp_path / "in.vcf", tmp_path / "out.vcf.gz"
    source.write_text(
        "\n".join([f"{HEAD}\tFORMAT\tS1", *("\t".join(row) for row in rows)]) + "\n",
        encoding="utf-8",
        newline="\n",
    )
    annotate(source, out)
    after = [record.columns for record in records_of(out)]
    assert len(after) == len(rows)
    for row, columns in zip(rows, after, strict=True):
        fields = [*columns[:8], *columns[8].split(b"\t")]
        info = [item for item in fields[7].decode().split(";") if item and not item.startswith("GMX_")]
        assert info == [item for item in row[7].split(";") if item and item != "."]
        assert [field.decode() for field in fields[:7]] == list(row[:7])
        assert [field.decode() for field in fields[8:]] == list(row[8:])
