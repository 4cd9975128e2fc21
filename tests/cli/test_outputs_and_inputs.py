"""No verb writes over what it reads."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from genomix_cli.main import app


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "human-2m", "in.tsv", "-o", "in.tsv"],
        ["likelihood", "in.tsv", "-o", "./in.tsv"],
        ["embed", "in.npz", "-o", "in.npz"],
        ["embed", "--bed", "in.npz", "-f", "in.fa", "-o", "in.npz"],
        ["generate", "--fasta", "in.fa", "-n", "5", "-o", "in.fa"],
        ["ism", "-f", "in.fa", "-R", "in.tsv", "-o", "out.png", "-o", "in.tsv"],
        ["attribute", "human-2m", "in.tsv", "-o", "in.tsv"],
        ["score", "in.tsv", "-f", "in.fa", "-o", "in.fa"],
        ["score", "in.tsv", "-f", "in.fa", "-R", "in.npz", "-o", "./in.npz"],
        ["score", "in.tsv", "-f", "in.fa", "-o", "out.vcf", "--report", "in.tsv"],
        ["score", "in.tsv", "-f", "in.fa", "-o", "in.fa", "-O", "v", "--engine", "ray"],
        ["merge", "in.tsv", "in.npz", "-o", "in.npz"],
        ["tile", "-f", "in.fa", "-R", "in.tsv", "-o", "in.tsv"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_input_is_never_replaced(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in.fa", "in.tsv", "in.npz"):
        (tmp_path / name).write_text(">a\nACGT\n")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3, result.output
    assert "is the input itself; choose another name" in result.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("in.fa", "in.tsv", "in.npz"), ">a\nACGT\n"
    )


@pytest.mark.parametrize("name", ["scores.xlsx", "scores.csv", "scores.JSON", "genome.fa"])
def test_scores_are_not_written_under_the_suffix_of_another_format(name: str, tmp_path: Path) -> None:
    (tmp_path / "in.vcf").write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
    (tmp_path / "g.fa").write_text(">a\nACGT\n")
    given = ["score", str(tmp_path / "in.vcf"), "-f", str(tmp_path / "g.fa"), "-o", str(tmp_path / name)]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 3, result.output
    assert "the suffix of a format that is not written here" in result.stderr
    assert not (tmp_path / name).exists()
    assert CliRunner().invoke(app, [*given, "-O", "v", "-q"]).exit_code == 0
    assert (tmp_path / name).read_text().startswith("##fileformat=VCF")
