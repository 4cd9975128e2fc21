"""Reads of several genomes: where they come from, and that test contigs are held out."""

from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genomix_cli.main import app
from genomix_data.benchmarks.species import write_species_tables
from genomix_data.errors import ConfigError, InputFileError
from genomix_data.genome import Genome
from genomix_data.tables.located import LocatedTable, read_located_table
from tests.genomix.training_helpers import letters, write_fasta


@pytest.fixture
def genomes(tmp_path: Path) -> dict[str, Genome]:
    return {
        name: Genome(
            write_fasta(
                tmp_path / f"{name}.fa",
                chr1=letters(300, seed),
                chr2="N" * 200 + letters(400, seed + 1),
                chr5=letters(40, seed + 2),
            )
        )
        for name, seed in (("human", 1), ("mouse", 11))
    }


def test_reads_are_where_they_say_and_test_contigs_are_held_out(
    genomes: dict[str, Genome], tmp_path: Path
) -> None:
    n = {"train": 60, "valid": 20, "test": 40}
    written = write_species_tables(genomes, tmp_path / "out", length=50, n=n, seed=3)
    for part, path in written.items():
        table = read_located_table(path)
        assert isinstance(table, LocatedTable)
        assert len(table) == n[part]
        assert table.class_names == ("human", "mouse")
        assert min(Counter(table.labels.tolist()).values()) > n[part] / 4, "species are drawn uniformly"
        for row, text in enumerate(table.sequences):
            contig = table.locations.chrom_names[int(table.locations.chrom[row])]
            assert contig == ("chr1" if part == "test" else "chr2"), "chr5 is shorter than a read"
            start, end = int(table.locations.start[row]), int(table.locations.end[row])
            genome = genomes[table.class_names[int(table.labels[row])]]
            assert genome.fetch(contig, start, end).decode() == text
            assert text.count("N") <= 5
    again = write_species_tables(genomes, tmp_path / "again", length=50, n=n, seed=3)
    assert read_located_table(again["test"]).sequences == read_located_table(written["test"]).sequences


def test_what_cannot_be_drawn_is_told(genomes: dict[str, Genome], tmp_path: Path) -> None:
    n = {"train": 1, "test": 1}
    with pytest.raises(ConfigError, match="give two genomes at least"):
        write_species_tables({"human": genomes["human"]}, tmp_path / "o", n=n)
    with pytest.raises(InputFileError, match=r"human: .* has no contig of 500 bp or more for the test reads"):
        write_species_tables(genomes, tmp_path / "o", length=500, n=n)
    with pytest.raises(ConfigError, match="must be at least 1"):
        write_species_tables(genomes, tmp_path / "o", length=0, n=n)


def test_from_the_command_line(genomes: dict[str, Genome], tmp_path: Path) -> None:
    given = [word for name, genome in genomes.items() for word in ("--genome", f"{name}={genome.path}")]
    out = str(tmp_path / "reads")
    done = CliRunner().invoke(app, ["data", "species", out, *given, "--length", "30", "--reads", "20"])
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in Path(out).iterdir()) == [
        "test.csv.gz",
        "train.csv.gz",
        "valid.csv.gz",
    ]
    one = CliRunner().invoke(app, ["data", "species", out, "--genome", str(genomes["human"].path)])
    assert one.exit_code == 3
    assert "give a genome for each species" in one.stderr
