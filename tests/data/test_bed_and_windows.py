"""BED records and windows, against the published windows and against counting."""

import gzip
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomix_data.bed import BedRecord, read_bed
from genomix_data.errors import ConfigError, GenomixError, InputFileError, ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.interval import Interval
from genomix_data.tables.rows import table_columns
from genomix_data.windows import ContigSplit, hyenadna_window, tile, tile_interval

FIXTURES = Path(__file__).parent.parent / "fixtures" / "data"
GOLDEN: dict[str, Any] = json.loads((FIXTURES / "fasta_intervals.json").read_text())

Write = Callable[[str], Path]


@pytest.fixture
def genome(tmp_path: Path) -> Genome:
    path = tmp_path / "golden.fa"
    lines = []
    for name, sequence in GOLDEN["fasta"].items():
        width = GOLDEN["line_width"]
        lines += [f">{name}", *(sequence[i : i + width] for i in range(0, len(sequence), width))]
    path.write_text("\n".join(lines) + "\n")
    return Genome(path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "x.bed"
        path.write_text(text)
        return path

    return to_file


def test_bed_columns(write: Write) -> None:
    path = write(
        "track name=x\nbrowser position chr1\n# comment\nchrom\tstart\tend\n"
        "chr1\t0\t10\n"
        "chr1\t5\t20\tgene\t12.5\t-\textra\n"
        "\n"
        "chr2\t1\t3\tvalid\r\n"
        "chr2\t3\t9\t.\t.\t.\n"
    )
    assert read_bed(path) == [
        BedRecord(Interval("chr1", 0, 10), line=5),
        BedRecord(Interval("chr1", 5, 20, "-", "gene"), "gene", 12.5, None, 6),
        BedRecord(Interval("chr2", 1, 3), split="valid", line=8),
        BedRecord(Interval("chr2", 3, 9), line=9),
    ]


def test_bed_may_be_compressed_and_split_by_spaces(tmp_path: Path) -> None:
    path = tmp_path / "x.bed.gz"
    path.write_bytes(gzip.compress(b"chr1 0 10 train\nchr1 10 20 test\n"))
    assert [(record.split, len(record.interval)) for record in read_bed(path)] == [
        ("train", 10),
        ("test", 10),
    ]


def test_bed_takes_the_names_of_the_genome(write: Write, genome: Genome) -> None:
    (record,) = read_bed(write("1\t10\t20\tx\t1\t-\n"), genome)
    assert record.interval == Interval("chr1", 10, 20, "-", "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "chr1\t0\t10\nchr1\t190\t201\n",
            r"x\.bed:2: .*end=201 reaches beyond the contig, which has 200 bp in golden",
        ),
        (
            "# x\nchr9\t0\t10\n",
            r"x\.bed:2: contig 'chr9' is not in golden\.fa; it has chr1, chr2\. Did you mean",
        ),
        ("chr1\t10\t10\n", r"x\.bed:1: interval chr1 start=10 end=10 is not valid"),
        ("chr1\t-1\t10\n", r"x\.bed:1: start '-1' and end '10' must be whole numbers"),
        ("chr1\t0\t10\nchr1\tx\t10\n", r"x\.bed:2: start 'x'"),
        ("chr1\t0\n", r"x\.bed:1: a BED line has at least three columns.*got 2"),
        ("chr1\t0\t9\tn\thigh\n", r"x\.bed:1: score 'high' in column 5"),
        ("chr1\t0\t9\tn\t1\t?\n", r"x\.bed:1: strand '\?'"),
        ("# only comments\n", "has no interval"),
        ("", "is empty"),
    ],
)
def test_bad_bed(write: Write, genome: Genome, text: str, message: str) -> None:
    with pytest.raises(InputFileError, match=message):
        read_bed(write(text), genome)


def test_bed_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"BED file .* does not exist"):
        read_bed(tmp_path / "none.bed")
    with pytest.raises(InputFileError, match="is a folder"):
        read_bed(tmp_path)
    broken = tmp_path / "broken.bed.gz"
    broken.write_bytes(gzip.compress(b"chr1\t0\t10\n" * 1000)[:-20])
    with pytest.raises(InputFileError, match="is truncated"):
        read_bed(broken)
    broken.write_bytes(gzip.compress(b"chr1\t0\t10\n")[:10] + b"\xff" * 40)
    with pytest.raises(InputFileError, match="is damaged"):
        read_bed(broken)
    broken.write_bytes(b"chr1\xff\t0\t10\n")
    with pytest.raises(InputFileError, match=r"is not UTF-8 text.* Save it as UTF-8"):
        read_bed(broken)
    broken.write_bytes("chr1\t0\t10\n".encode("utf-16"))
    with pytest.raises(InputFileError, match=r"is not UTF-8 text.* Save it as UTF-8"):
        read_bed(broken)
    with ZipFile(broken, "w") as workbook:
        workbook.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(InputFileError, match="a ZIP archive or an Excel workbook"):
        read_bed(broken)


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    """What a shell makes of ``<(zcat regions.bed.gz)``."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(b"chr1\t0\t10\n"),))
    writer.start()
    assert [record.interval for record in read_bed(pipe)] == [Interval("chr1", 0, 10)]
    writer.join()
    with pytest.raises(InputFileError, match=r"is a pipe.* write it to a file first"):
        table_columns(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"",))
    writer.start()
    with pytest.raises(InputFileError, match=r"is a pipe.* write it to a file first"):
        read_bed(pipe)
    writer.join()


@pytest.mark.parametrize(
    "case", GOLDEN["interval_cases"], ids=lambda case: f"{case['chr']}-{case['max_length']}"
)
def test_hyenadna_window_against_published(genome: Genome, case: dict[str, Any]) -> None:
    interval = Interval(case["chr"], case["start"], case["end"])
    window = hyenadna_window(interval, case["max_length"], genome.contigs[case["chr"]], case["pad_interval"])
    assert window.fetch(genome, pad=b".").decode() == case["out"]
    assert len(window) == len(case["out"])


def test_published_cases_are_all_there() -> None:
    assert len(GOLDEN["interval_cases"]) == 22


def test_fixed_windows_against_published() -> None:
    fixed = GOLDEN["fixed_intervals"]
    windows = [
        [window.chrom, window.start, window.end]
        for chrom, (start, end) in fixed["chr_ranges"].items()
        for window in tile_interval(Interval(chrom, start, end), fixed["max_length"], keep_partial=True)
    ]
    assert windows == fixed["out"]


def test_hyenadna_window_outside_its_contig() -> None:
    with pytest.raises(GenomixError, match="lies outside its contig, which has 50 bp"):
        hyenadna_window(Interval("chr1", 60, 70), 10, 50)
    with pytest.raises(GenomixError, match="at least 1 bp"):
        hyenadna_window(Interval("chr1", 60, 70), 0, 50)


@given(
    start=st.integers(0, 20),
    length=st.integers(1, 60),
    window=st.integers(1, 30),
    stride=st.integers(1, 30),
    keep_partial=st.booleans(),
)
def test_tiles_of_an_interval(start: int, length: int, window: int, stride: int, keep_partial: bool) -> None:
    whole = Interval("chr1", start, start + length, "-", "x")
    tiles = tile_interval(whole, window, stride=stride, keep_partial=keep_partial)
    full = [s for s in range(start, start + length, stride) if s + window <= start + length]
    assert [tile.start for tile in tiles if len(tile) == window and tile.start in full] == full
    assert all(whole.contains(tile) and (tile.strand, tile.name) == ("-", "x") for tile in tiles)
    covered = {base for tile in tiles for base in range(tile.start, tile.end)}
    if keep_partial and stride <= window:
        assert covered == set(range(start, start + length))
    if not keep_partial:
        assert all(len(tile) == window for tile in tiles)


def test_tiles_of_a_genome(genome: Genome) -> None:
    assert [str(tile_) for tile_ in tile(genome, 70)] == ["chr1:1-70", "chr1:71-140", "chr2:1-70"]
    assert [str(tile_) for tile_ in tile(genome, 70, contigs=["2", "1"], stride=60, keep_partial=True)] == [
        "chr2:1-70",
        "chr2:61-77",
        "chr1:1-70",
        "chr1:61-130",
        "chr1:121-190",
        "chr1:181-200",
    ]
    with pytest.raises(GenomixError, match=r"no window of 500 bp fits: the longest contig .* has 200 bp"):
        tile(genome, 500)
    with pytest.raises(GenomixError, match="must be at least 1 bp"):
        tile(genome, 10, stride=0)
    with pytest.raises(ReferenceMismatchError, match="contig 'chr3' is not in"):
        tile(genome, 10, contigs=["chr3"])


def test_contig_split(genome: Genome) -> None:
    assert ContigSplit(test=["2"]).resolve(genome) == {"train": ("chr1",), "valid": (), "test": ("chr2",)}
    assert ContigSplit(train=["chr1", "1"], valid=None).resolve(genome) == {
        "train": ("chr1",),
        "valid": ("chr2",),
        "test": (),
    }


@pytest.mark.parametrize(
    ("split", "error", "message"),
    [
        (ContigSplit(["chr1"], ["1"]), ConfigError, "contig 'chr1' is in both train and valid"),
        (ContigSplit(None, None), ConfigError, "train, valid cannot both be the rest"),
        (ContigSplit(test=["chr1", "chr2"]), ConfigError, r"no contig of golden\.fa is left to train on"),
        (ContigSplit(test=["chr22"]), ReferenceMismatchError, "Did you mean 'chr2'"),
    ],
)
def test_bad_contig_splits(genome: Genome, split: ContigSplit, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        split.resolve(genome)
