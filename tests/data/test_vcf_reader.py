"""What comes out of VCF, VCF.gz and BCF, whole or damaged."""

import gzip
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pysam
import pytest

from genomix_data.errors import InputFileError
from genomix_data.vcf import VcfRecord, open_vcf

FIXTURES = Path(__file__).parent.parent / "fixtures" / "vcf"
HEAD = "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=1000>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
SIMPLE = f"{HEAD}\nchr1\t10\trs1\tA\tC,G\t29.0\tPASS\tAF=0.123456789;DB\nchr1\t11\t.\tAC\t.\t.\t.\t.\n"

WriteVcf = Callable[..., Path]


@pytest.fixture
def write_vcf(tmp_path: Path) -> WriteVcf:
    def write(text: str, name: str = "in.vcf") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return write


def read(path: Path | str) -> list[VcfRecord]:
    with open_vcf(path) as reader:
        records = list(reader)
    assert all(isinstance(record, VcfRecord) for record in records)
    return records  # type: ignore[return-value]


def test_records_hold_the_columns(write_vcf: WriteVcf) -> None:
    with open_vcf(write_vcf(SIMPLE)) as reader:
        assert reader.contigs == {"chr1": 1000}
        assert reader.samples == ()
        first, second = list(reader)
    assert (first.chrom, first.pos, first.id, first.ref, first.alts) == ("chr1", 10, "rs1", "A", ("C", "G"))
    assert first.info == {"AF": "0.123456789", "DB": None}  # type: ignore[union-attr]
    assert (second.ref, second.alts, second.info) == ("AC", (), {})  # type: ignore[union-attr]
    assert second.where.endswith("in.vcf:5")


@pytest.mark.parametrize("n_records", [0, 2])
def test_all_containers_give_the_same(tmp_path: Path, write_vcf: WriteVcf, n_records: int) -> None:
    text = SIMPLE if n_records else HEAD + "\n"
    plain = write_vcf(text)
    bgzipped = tmp_path / "b.vcf.gz"
    pysam.tabix_compress(str(plain), str(bgzipped))
    gzipped = tmp_path / "g.vcf.gz"
    gzipped.write_bytes(gzip.compress(text.encode()))
    crlf = write_vcf(text.replace("\n", "\r\n"), "crlf.vcf")
    no_last_line_end = write_vcf(text.rstrip("\n"), "cut.vcf")
    with_mark = write_vcf("\ufeff" + text, "mark.vcf")
    blank_lines = write_vcf(text + "\n\n", "blank.vcf")
    expected = [record.columns for record in read(plain)]
    assert len(expected) == n_records
    for path in (bgzipped, gzipped, crlf, no_last_line_end, with_mark, blank_lines):
        assert [record.columns for record in read(path)] == expected, path


def test_standard_input(write_vcf: WriteVcf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = write_vcf(SIMPLE)
    packed = tmp_path / "b.vcf.gz"
    pysam.tabix_compress(str(plain), str(packed))
    expected = [record.columns for record in read(plain)]
    for data in (plain.read_bytes(), packed.read_bytes()):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert [record.columns for record in read("-")] == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed.read_bytes()[:-28])))
    with pytest.raises(InputFileError, match="standard input is truncated"):
        read("-")


@pytest.mark.parametrize("name", ["uncompressed_2_2.bcf", "version_2_1.bcf"])
def test_bcf_as_text_and_as_binary_agree(name: str) -> None:
    text = read(FIXTURES / name)
    with open_vcf(FIXTURES / name, keep_bcf=True) as reader:
        binary = list(reader)
        assert not any("IDX=" in line for line in reader.header.meta)
    assert len(text) == len(binary) > 0
    for a, b in zip(text, binary, strict=True):
        assert (a.chrom, a.pos, a.id, a.ref, a.alts) == (b.chrom, b.pos, b.id, b.ref, b.alts)


@pytest.mark.parametrize("keep_bcf", [False, True])
def test_cut_bcf_is_refused(tmp_path: Path, keep_bcf: bool) -> None:
    whole = (FIXTURES / "uncompressed_2_2.bcf").read_bytes()
    path = tmp_path / "cut.bcf"
    path.write_bytes(whole[:-40])
    with (
        pytest.raises(InputFileError, match=r"cut\.bcf is truncated or damaged"),
        open_vcf(path, keep_bcf=keep_bcf) as reader,
    ):
        list(reader)


def test_truncated_bgzip_is_refused_before_the_first_record(tmp_path: Path, write_vcf: WriteVcf) -> None:
    many = SIMPLE + "".join(f"chr1\t{100 + i}\t.\tA\tC\t.\t.\tX={i * 7919 % 1000}\n" for i in range(30000))
    whole = tmp_path / "whole.vcf.gz"
    pysam.tabix_compress(str(write_vcf(many)), str(whole))
    cut = tmp_path / "cut.vcf.gz"
    for n_lost in (28, 1000):  # between two blocks, which gzip does not notice; inside one
        cut.write_bytes(whole.read_bytes()[:-n_lost])
        with pytest.raises(InputFileError, match=r"(?i)cut\.vcf\.gz.*truncated"):
            open_vcf(cut)


def test_damaged_block_is_refused(tmp_path: Path, write_vcf: WriteVcf) -> None:
    path = tmp_path / "bad.vcf.gz"
    pysam.tabix_compress(str(write_vcf(SIMPLE)), str(path))
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputFileError, match=r"bad\.vcf\.gz is truncated or damaged"):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (">chr1\nACGT\n", "looks like FASTA"),
        ("chrom,pos\n1,2\n", "is not a VCF"),
        ("##fileformat=VCFv4.2\n", "no #CHROM line"),
        (HEAD.replace("\t", "   ") + "\n", "tabs, not spaces"),
        (HEAD.replace("POS", "POSITION") + "\n", "POSITION"),
        (f"{HEAD}\nchr1\t10\t.\tA\n", "in.vcf:4: 4 columns"),
        (f"{HEAD}\nchr1 10 . A C . . .\n", "tabs, not spaces"),
        (f"{HEAD}\nchr1\tten\t.\tA\tC\t.\t.\t.\n", "POS is 'ten'"),
        (f"{HEAD}\nchr1\t1_0\t.\tA\tC\t.\t.\t.\n", "POS is '1_0'"),
        (
            f"{HEAD}\tFORMAT\tS1\tS2\nchr1\t1\t.\tA\tC\t.\t.\t.\tGT\t0|1\n",
            "has 1 sample columns, the #CHROM line has 2",
        ),
    ],
)
def test_what_is_not_a_vcf_is_refused(write_vcf: WriteVcf, text: str, message: str) -> None:
    with pytest.raises(InputFileError, match=message):
        read(write_vcf(text))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="does not exist"):
        open_vcf(tmp_path / "none.vcf")
    with pytest.raises(InputFileError, match="is a folder"):
        open_vcf(tmp_path)
