"""``genomix ism``: every base of a region, to every kind of file, with a summary; bad input in one line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genomix.checkpoint.native import save_model
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.variant_effect import ScoreOptions, score_variants
from genomix_cli.main import app
from genomix_data.genome import Genome
from genomix_data.tokenizers import CharTokenizer
from genomix_data.variant import Variant
from tests.genomix.variant_effect.conftest import random_bases, write_fasta

CONTIG = random_bases(300, 11)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model`` and ``ref.fa``, whose base 100 is N."""
    folder = tmp_path_factory.mktemp("inputs")
    model = HyenaDNA(HyenaDNAConfig(d_model=8, n_layers=1, d_inner=16, l_max=64))
    save_model(model, folder / "model", tokenizer=CharTokenizer(), provenance={}, card="For tests.")
    write_fasta(folder / "ref.fa", {"chr1": CONTIG[:99] + b"N" + CONTIG[100:], "chr2": CONTIG[:50]})
    return folder


def ism(inputs: Path, *more: str) -> Result:
    files = ["-f", str(inputs / "ref.fa"), "-m", str(inputs / "model"), "--device", "cpu", "--window", "32"]
    return CliRunner().invoke(app, ["ism", *files, *more])


def test_standard_output_is_the_table_of_score(inputs: Path) -> None:
    ran = ism(inputs, "-r", "chr1:98-101", "--per-strand")
    assert ran.exit_code == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert any(line.startswith("##genomixModel=<ID=model") for line in lines)
    header, *rows = [line.split("\t") for line in lines if not line.startswith("##")]
    assert header == [
        "#CHROM", "POS", "ID", "REF", "ALT", "GMX_LLR", "GMX_STATUS", "GMX_LLR_FWD", "GMX_LLR_RC"
    ]  # fmt: skip
    assert [row[1] for row in rows] == ["98"] * 3 + ["99"] * 3 + ["101"] * 3
    variants = [Variant(row[0], int(row[1]), row[3], row[4]) for row in rows]
    options = ScoreOptions(window=32, device="cpu")
    expected = score_variants(variants, Genome(inputs / "ref.fa"), inputs / "model", options)
    assert [float(row[5]) for row in rows] == pytest.approx([each.llr for each in expected], abs=1e-4)
    assert "4 bases in 1 region, 9 of 9 changes scored" in ran.stderr
    assert "skipped: 1 bases that are N" in ran.stderr


def test_files_of_all_kinds_and_a_report(inputs: Path, tmp_path: Path) -> None:
    bed = tmp_path / "in.bed"
    bed.write_text("chr2\t10\t20\nchr1\t20\t30\n")
    names = ["a.tsv", "a.vcf.gz", "a.bedgraph"]
    outputs = [word for name in names for word in ("-o", str(tmp_path / name))]
    report = tmp_path / "run.json"
    ran = ism(inputs, "-R", str(bed), "--deletions", "--track", "deletion", "--report", str(report), *outputs)
    assert (ran.exit_code, ran.stdout) == (0, ""), ran.stderr
    summary = json.loads(report.read_text())["summary"]
    assert (summary["regions"], summary["bases"], summary["alleles"]) == (2, 20, 80)
    assert summary["by_status"] == {"OK": 80}
    assert [Path(name).name for name in summary["outputs"]] == names
    assert "written:" in ran.stderr
    graph = [line for line in (tmp_path / "a.bedgraph").read_text().splitlines() if line[0] != "#"]
    assert [line.split("\t")[0] for line in graph] == ["chr1"] * 10 + ["chr2"] * 10
    quiet = ism(inputs, "-r", "chr2:5", "-q", "-o", str(tmp_path / "b.svg"))
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert "<svg" in (tmp_path / "b.svg").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "either as -r chr1:100-200 or as -R regions.bed"),
        (["-r", "chr1", "-R", "x.bed"], "either as -r"),
        (["-r", "chr1:1-5", "-o", "a.doc"], "expected a name that ends in"),
        (["-r", "chr1:1-5", "-o", "a.tsv", "-o", "a.tsv"], "named twice"),
        (["-r", "chr1:290-301"], "which has 300 bp"),
        (["-r", "chrX"], "chrX"),
        (["-r", "chr1,chr2", "-o", "a.png"], "a picture shows one region"),
        (["-r", "chr1:1-5", "--window", "65"], "context is 64"),
        (["-r", "chr1:1-5", "--track", "deletion", "-o", "a.bedgraph"], "add --deletions"),
        (["-r", "chr1:1-5", "--per-strand", "--strand", "forward"], "need both strands"),
        (["-R", "nowhere.bed"], "nowhere.bed"),
    ],
)
def test_bad_input_is_one_line_and_code_three(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = ism(inputs, *more)
    assert ran.exit_code == 3, ran.stderr
    assert ran.stderr.startswith("error: ")
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
