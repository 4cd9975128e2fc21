"""Each fault of a FASTA file, or of its index, is one clear error that says what to do."""

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path

import pysam
import pytest

from genomix_data import samples
from genomix_data.errors import GenomixError, InputFileError
from genomix_data.fasta_index import format_fai, parse_fai, scan_fasta
from genomix_data.genome import Genome

Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(data: bytes) -> Path:
        path = tmp_path / "x.fa"
        path.write_bytes(data)
        return path

    return to_file


@pytest.fixture
def yeast(tmp_path: Path) -> Path:
    path = tmp_path / "yeast.fa.gz"
    path.write_bytes(samples.path("yeast_chrI.fa.gz").read_bytes())
    return path


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="does not exist"):
        Genome(tmp_path / "none.fa")
    with pytest.raises(InputFileError, match=r"holds no genome: no file ends in \.fa .*Give a FASTA file"):
        Genome(tmp_path)
    with pytest.raises(InputFileError, match="needs at least one file"):
        Genome([])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty: it has no bytes"),
        (b"\n \n", "is empty: there is no sequence"),
        (b"ACGT\nACGT\n", r"is not FASTA: it begins with b'ACGT\\nACGT"),
        (b"@r1\nACGT\n+\nIIII\n", "looks like FASTQ"),
        (b"\x43\x27\x41\x1a\0\0\0\0", "2bit file .* is damaged: it ends within its header"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"##fileformat=VCFv4.2\n#CHROM\n", "is not FASTA"),
        (b">a\nACGT\n>b\nAC\n>a\nGG\n", r"x\.fa:5: contig 'a' comes twice"),
        (b">a\n>b\nAC\n", r"x\.fa:1: contig 'a' has no sequence"),
        (b">b\nAC\n>a\n", r"x\.fa:3: contig 'a' has no sequence"),
        (b">b\nAC\n>a\n\n\n>c\nA\n", "contig 'a' has no sequence"),
        (b">\nAC\n", r"x\.fa:1: the header has no name"),
        (b"> a\nAC\n", r"x\.fa:1: the header has no name"),
        (b">a\nACGT\nAC\nACGT\n", r"x\.fa:4: the lines of contig 'a' have uneven lengths"),
        (b">a\nAC\nACGT\n", r"x\.fa:3: the lines of contig 'a' have uneven lengths.*seqtk seq"),
        (b">a\nACGT\n\nACGT\n", r"x\.fa:4: the lines of contig 'a' have uneven lengths"),
        (b">a\nACGT\nACGT\r\nACGT\n", r"x\.fa:4: the lines of contig 'a' have uneven"),
        (b">a\nACGT\n>b\nACGT\nAC-TAC\n", "'-' at b:7 is not a nucleotide code"),
        (b">a\nMKLVEF\n", "'L' at a:3 is not a nucleotide code.*Is it a DNA sequence"),
        (b">a\nAC GT\n", "' ' at a:3 is not"),
        (b">a\nAC\rGT\nAC\rGT\n", "carriage returns inside its lines"),
    ],
)
def test_faults_of_the_text(write: Write, data: bytes, message: str) -> None:
    path = write(data)
    with pytest.raises(InputFileError, match=message):
        Genome(path)
    assert [file.name for file in path.parent.iterdir()] == ["x.fa"]


@pytest.mark.parametrize("size", [1, 3, 64, 10_000])
def test_faults_are_found_however_the_text_is_cut(size: int) -> None:
    text = b">a\n" + b"ACGTACGT\n" * 300 + b"ACG\n>b\n" + b"ACGT\n" * 50 + b"ACXT\n"
    blocks = [text[i : i + size] for i in range(0, len(text), size)]
    with pytest.raises(InputFileError, match="'X' at b:203 is not"):
        scan_fasta(blocks, Path("x.fa"))


def test_faults_beyond_the_first_four_mebibytes(write: Write) -> None:
    text = b">a\n" + b"ACGTACGTAC\n" * 500_000
    assert Genome(write(text)).contigs == {"a": 5_000_000}
    with pytest.raises(InputFileError, match=r"'!' at a:5000001 is not"):
        Genome(write(text + b"!CGT\n"))
    with pytest.raises(InputFileError, match=r"x\.fa:500003: the lines of contig 'a' have uneven"):
        Genome(write(text + b"ACG\nACGT\n"))


def test_letters_are_checked_again_when_an_index_was_there(write: Write) -> None:
    path = write(b">a\nACGT\nAC*T\n")
    pysam.faidx(str(path))
    genome = Genome(path)
    assert genome.fetch("a", 0, 6) == b"ACGTAC"
    with pytest.raises(GenomixError, match=r"'\*' at a:7 is not a nucleotide code"):
        genome.fetch("a", 4, 8)


def test_contig_that_comes_twice_is_found_though_samtools_left_it_out(write: Write) -> None:
    path = write(b">a first\nACGT\n>a second\nGG\n>b\nTTTT\n")
    pysam.faidx(str(path))
    assert Path(f"{path}.fai").read_text().split("\t")[0] == "a"
    with pytest.raises(
        InputFileError, match=r"x\.fa:3: contig 'a' comes twice in the FASTA\. Rename or remove"
    ):
        Genome(path)


def test_plain_gzip_says_the_command(tmp_path: Path) -> None:
    path = tmp_path / "hg.fa.gz"
    path.write_bytes(gzip.compress(b">a\nACGT\n"))
    with pytest.raises(InputFileError) as raised:
        Genome(path)
    assert f"`gunzip -c {path} > hg.fa`" in str(raised.value)
    assert f"`gunzip -c {path} | bgzip > hg.bgzip.fa.gz`" in str(raised.value)


@pytest.mark.parametrize("with_index", [False, True])
@pytest.mark.parametrize("kept", [-28, -1, 40_000, 100])
def test_truncated_bgzip(yeast: Path, with_index: bool, kept: int) -> None:
    if with_index:
        Genome(yeast)
    yeast.write_bytes(yeast.read_bytes()[:kept])
    if with_index:
        for suffix in (".fai", ".gzi"):
            Path(f"{yeast}{suffix}").touch()
    with pytest.raises(InputFileError, match=r"is truncated: .*Copy or download the file again"):
        Genome(yeast)


@pytest.mark.parametrize("cut", [slice(30_000, 30_500), slice(0, 20_000)])
def test_bgzip_with_a_hole(yeast: Path, cut: slice) -> None:
    data = yeast.read_bytes()
    yeast.write_bytes(data[: cut.start] + data[cut.stop :])
    with pytest.raises(InputFileError, match=r"is (truncated|damaged|plain gzip|not FASTA)"):
        Genome(yeast)


def test_flipped_byte_is_found_by_the_checksum(yeast: Path) -> None:
    data = bytearray(yeast.read_bytes())
    data[25_000] ^= 0xFF
    yeast.write_bytes(data)
    with pytest.raises(InputFileError, match="is damaged: the block at byte"):
        Genome(yeast)


def test_damage_behind_an_index_is_found_when_read(yeast: Path) -> None:
    length = Genome(yeast).contigs["chrI"]
    data = bytearray(yeast.read_bytes())
    data[25_000:25_100] = bytes(100)
    yeast.write_bytes(data)
    os.utime(yeast, ns=(0, 0))
    genome = Genome(yeast)
    with pytest.raises(InputFileError, match=r"(cannot be read at|gave \d+ of)"):
        genome.fetch("chrI", 0, length)


def test_stale_index_is_built_again(write: Write) -> None:
    path = write(b">a\nACGT\n")
    Genome(path)
    path.write_bytes(b">longer_name\nGGGGGGCC\n")
    fai = Path(f"{path}.fai")
    os.utime(fai, ns=(0, 0))
    genome = Genome(path)
    assert genome.fetch("longer_name", 4, 8) == b"GGCC"
    assert fai.read_text() == "longer_name\t8\t13\t8\t9\n"


@pytest.mark.parametrize(
    "other", [b">b\nACGTACGT\n", b">a\nACGTACGTACGT\n", b">a\nACGT\n", b">a\nACGTACGT\n>b\nAC\n"]
)
def test_index_of_another_file_is_noticed_though_it_is_newer(write: Write, other: bytes) -> None:
    path = write(b">a\nACGTACGT\n")
    Genome(path)
    path.write_bytes(other)
    Path(f"{path}.fai").touch()
    expected = {entry.name: entry.length for entry in scan_fasta([other], path)}
    assert Genome(path).contigs == expected


def test_blocked_index_of_another_file_is_noticed_though_it_is_newer(yeast: Path, tmp_path: Path) -> None:
    Genome(yeast)
    yeast.write_bytes(samples.path("lambda.fa.gz").read_bytes())
    for suffix in (".fai", ".gzi"):
        Path(f"{yeast}{suffix}").touch()
    assert list(Genome(yeast).contigs.values()) == [48502]


@pytest.mark.parametrize("garbage", [b"", b"nonsense\n", b"a\tx\ty\tz\tw\n", b"\xff\xfe"])
def test_unusable_index_is_built_again(write: Write, garbage: bytes) -> None:
    path = write(b">a\nACGT\n")
    Path(f"{path}.fai").write_bytes(garbage)
    assert parse_fai(garbage) is None
    assert Genome(path).contigs == {"a": 4}


def test_index_text_round_trip() -> None:
    entries = scan_fasta([b">a x\nACGT\nAC\n>b\nGG\n"], Path("x.fa"))
    assert parse_fai(format_fai(entries)) is not None
    assert format_fai(parse_fai(format_fai(entries)) or []) == format_fai(entries)


def test_read_only_folder_without_index(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(b">a\nACGT\n")
    # Permission bits do not bind root, so the question itself is answered here.
    monkeypatch.setattr("genomix_data.index_files.os.access", lambda folder, mode: False)
    with pytest.raises(InputFileError, match=r"read-only.*`samtools faidx x\.fa`.*GENOMIX_INDEX_DIR"):
        Genome(path)
    assert [file.name for file in path.parent.iterdir()] == ["x.fa"]


def test_read_only_folder_with_an_index_that_only_looks_stale(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(b">a\nACGT\n")
    Genome(path)
    os.utime(f"{path}.fai", ns=(0, 0))
    monkeypatch.setattr("genomix_data.index_files.os.access", lambda folder, mode: False)
    assert Genome(path).fetch("a", 0, 4) == b"ACGT"


def test_index_folder(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, yeast: Path) -> None:
    folder = tmp_path / "made" / "here"
    monkeypatch.setenv("GENOMIX_INDEX_DIR", str(folder))
    path = write(b">a\nACGT\n")
    assert Genome(path).fetch("a", 1, 3) == b"CG"
    assert Genome(yeast).fetch("chrI", 0, 4) == b"CCAC"
    names = sorted(file.name for file in folder.iterdir())
    assert [re.sub(r"\.[0-9a-f]{12}\.", ".", name) for name in names] == [
        "x.fa.fai",
        "yeast.fa.gz.fai",
        "yeast.fa.gz.gzi",
    ]
    assert not Path(f"{path}.fai").exists()
    before = [file.stat().st_mtime_ns for file in sorted(folder.iterdir())]
    assert Genome(path).contigs == {"a": 4}
    assert [file.stat().st_mtime_ns for file in sorted(folder.iterdir())] == before


def test_index_folder_keeps_files_of_one_name_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENOMIX_INDEX_DIR", str(tmp_path / "index"))
    for name, bases in (("one", "ACGT"), ("two", "GGCCGG")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.fa").write_text(f">a\n{bases}\n")
    assert Genome(tmp_path / "one" / "x.fa").contigs == {"a": 4}
    assert Genome(tmp_path / "two" / "x.fa").contigs == {"a": 6}
    assert Genome(tmp_path / "one" / "x.fa").fetch("a", 0, 4) == b"ACGT"


def test_index_folder_that_cannot_be(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(b">a\nACGT\n")
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("GENOMIX_INDEX_DIR", str(tmp_path / "file" / "sub"))
    with pytest.raises(InputFileError, match=r"none can be written to .*Not a directory"):
        Genome(path)
