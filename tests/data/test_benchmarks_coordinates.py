"""Genomic Benchmarks from coordinates and a genome: the same letters as the sequence files, on both strands."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from genomix_data import samples
from genomix_data.alphabet import reverse_complement
from genomix_data.benchmarks import check_benchmark, load_benchmark, load_folder
from genomix_data.benchmarks.coordinates import check_coordinates, cut_sequences
from genomix_data.errors import InputFileError, ReferenceMismatchError
from genomix_data.genome import Genome
from genomix_data.tables.located import LocatedTable, locations_from, read_located_table

NAME = "human_nontata_promoters"


@pytest.fixture(scope="module")
def genome() -> Genome:
    return Genome(samples.path("yeast_chrI.fa.gz"))


@pytest.fixture
def folders(tmp_path: Path, genome: Genome) -> tuple[Path, Path]:
    """Return the same set twice: as coordinates, and as one file a sequence."""
    random = np.random.default_rng(4)
    coordinates, files = tmp_path / "coordinates", tmp_path / "files"
    number = 0
    for part, n in (("train", 12), ("test", 5)):
        for name in ("negative", "positive"):
            lines = ["id,region,start,end,strand"]
            (files / part / name).mkdir(parents=True)
            for start in random.integers(0, 230_000, n).tolist():
                strand = ("+", "-", "")[number % 3]
                lines.append(f"{number},{'I' if number % 2 else 'chrI'},{start},{start + 60},{strand}")
                letters = genome.fetch("chrI", start, start + 60).decode().upper()
                text = reverse_complement(letters) if strand == "-" else letters
                (files / part / name / f"{number:03}.txt").write_text(text)
                number += 1
            (coordinates / part).mkdir(parents=True, exist_ok=True)
            packed = gzip.compress(("\n".join(lines) + "\n").encode())
            (coordinates / part / f"{name}.csv.gz").write_bytes(packed)
    return coordinates, files


def test_coordinates_give_the_sequence_files_letter_for_letter(
    folders: tuple[Path, Path], genome: Genome
) -> None:
    cut = load_benchmark(NAME, folders[0], genomes=genome).classification_parts()
    read = load_benchmark(NAME, folders[1]).classification_parts()
    for part in ("train", "test"):
        assert cut[part].sequences == read[part].sequences
        assert cut[part].labels.tolist() == read[part].labels.tolist()
        assert cut[part].class_names == ("negative", "positive")
    located = cut["test"]
    assert isinstance(located, LocatedTable)
    assert located.locations.chrom_names == ("I", "chrI")


def test_no_genome_or_not_the_right_one(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"holds coordinates, not sequences. Give the genome"):
        load_folder(folders[0])
    other = Genome(samples.path("lambda.fa.gz"))
    with pytest.raises(
        ReferenceMismatchError, match=r"12 of 12 places are on contigs that .* lacks \(I, chrI\)"
    ):
        load_folder(folders[0], genomes=other)
    (tmp_path / "short.fa").write_text(">chrI\n" + "ACGT" * 100 + "\n")
    with pytest.raises(ReferenceMismatchError, match="outside the contig"):
        load_folder(folders[0], genomes=Genome(tmp_path / "short.fa"))


def test_each_class_may_have_its_own_genome(tmp_path: Path, genome: Genome) -> None:
    (tmp_path / "cdna.fa").write_text(">ENST0001.7 cdna\nAAAACCCCGGGG\n")
    for part in ("train", "test"):
        folder = tmp_path / "set" / part
        folder.mkdir(parents=True)
        (folder / "coding_seqs.csv").write_text("id,region,start,end,strand\n1,ENST0001,2,8,+\n")
        (folder / "intergenomic_seqs.csv").write_text("id,region,start,end,strand\n1,chrI,0,6,+\n")
    genomes = {"coding_seqs": Genome(tmp_path / "cdna.fa"), "intergenomic_seqs": genome}
    parts = load_folder(tmp_path / "set", genomes=genomes).classification_parts()
    assert parts["train"].sequences == ["AACCCC", "CCACAC"]
    with pytest.raises(InputFileError, match="--genome intergenomic_seqs=FASTA"):
        load_folder(tmp_path / "set", genomes={"coding_seqs": genomes["coding_seqs"]})


def test_a_table_with_coordinates_is_compared_with_the_genome(tmp_path: Path, genome: Genome) -> None:
    right = genome.fetch("chrI", 100, 110).decode()
    table = tmp_path / "all.test.csv"
    table.write_text(
        "sequence,label,region,start,end,strand\n"
        f"{right},0,chrI,100,110,+\n"
        f"{reverse_complement(right)},1,chrI,100,110,-\n"
        f"{right},1,chrI,101,111,+\n"
        "ACGT,1,chrII,5,9,\n"
        "ACGT,1,chrI,500000,500004,\n"
        "ACGT,0,,,,\n"
    )
    found = read_located_table(table)
    assert isinstance(found, LocatedTable)
    check = check_coordinates(found, genome)
    assert (check.same, check.different, check.absent, check.outside) == (2, 1, 2, 1)
    assert check.by_contig == {"chrI": (2, 2)}
    assert check.examples == ("chrI:102-111", "chrI:500001-500004")
    report = check_benchmark(NAME, table, genomes=genome)
    (line,) = [line for line in report.lines if line.what.startswith("same as the genome")]
    assert (line.expected, line.found, line.status) == (
        "4",
        "2 (chrI:102-111, chrI:500001-500004)",
        "differs",
    )


def test_cutting_keeps_the_order_and_says_where_there_is_nothing(genome: Genome) -> None:
    places = locations_from(["chrI", "chr9", ""], [(0, 4), (0, 4), (0, 0)], [True, False, False])
    assert cut_sequences(places, genome) == [
        reverse_complement(genome.fetch("chrI", 0, 4).decode()),
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("chrI,10,5,+", "start='10' end='5' is not an interval"),
        ("chrI,x,5,+", "coordinates are whole numbers"),
        (",1,5,+", "is not an interval"),
        ("chrI,1,5,plus", "strand 'plus'"),
    ],
)
def test_a_broken_coordinate_is_named_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    table = tmp_path / "x.csv"
    table.write_text(f"sequence,label,region,start,end,strand\nACGT,0,chrI,1,5,+\nACGT,1,{row}\n")
    with pytest.raises(InputFileError, match=message) as caught:
        read_located_table(table)
    assert f"{table}:3" in str(caught.value)


def test_the_parts_must_have_the_same_classes(tmp_path: Path, genome: Genome) -> None:
    for file in ("train/a.csv", "train/b.csv", "test/a.csv"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text("id,region,start,end,strand\n1,chrI,0,6,+\n")
    with pytest.raises(InputFileError, match="differ in their classes"):
        load_folder(tmp_path, genomes=genome)
