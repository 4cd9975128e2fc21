"""``genomix attribute``: sequences or regions in, a table, arrays and logos out."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from genomix.attribution import HeadOutput, attribute
from genomix.checkpoint.native import load_model, save_model
from genomix.heads.classifier import SequenceClassifier
from genomix.heads.targets import SequenceRegressor
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix_cli.main import app
from genomix_data.tokenizers import CharTokenizer
from tests.genomix.training_helpers import letters, write_fasta

ONE, TWO = letters(30, 1), letters(20, 2)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run ``cls`` of two classes, a regression model, a language model, and sequences."""
    folder = tmp_path_factory.mktemp("inputs")
    config = HyenaDNAConfig(d_model=8, n_layers=1, d_inner=16, l_max=64)
    about = {"tokenizer": CharTokenizer(), "provenance": {}, "card": "For tests."}
    classifier = SequenceClassifier(HyenaDNA(config), 2)
    save_model(classifier, folder / "cls" / "model", head={"class_names": ["at", "gc"]}, **about)  # type: ignore[arg-type]
    save_model(SequenceRegressor(HyenaDNA(config), 2), folder / "numbers", **about)  # type: ignore[arg-type]
    save_model(HyenaDNA(config), folder / "lm", **about)  # type: ignore[arg-type]
    write_fasta(folder / "in.fa", one=ONE, two=TWO)
    write_fasta(folder / "ref.fa", chr1=letters(100, 3))
    return folder


def run(inputs: Path, *arguments: str) -> Result:
    words = [str(inputs / word) if (inputs / word).exists() else word for word in arguments]
    return CliRunner().invoke(app, ["attribute", *words, "--device", "cpu"])


def test_a_run_folder_and_all_outputs(inputs: Path, tmp_path: Path) -> None:
    names = ["a.tsv", "a.npz", "a.svg", "a.png"]
    outputs = [word for name in names for word in ("-o", str(tmp_path / name))]
    ran = run(inputs, "cls", "in.fa", "--class", "gc", *outputs)
    assert (ran.exit_code, ran.stdout) == (0, ""), ran.stderr
    assert "2 sequences, 50 bases, log-odds of gc" in ran.stderr
    assert "integrated gradients add up to within" in ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    wanted = attribute(HeadOutput(load_model(inputs / "cls" / "model"), 1), ONE)
    rows = [line.split("\t") for line in (tmp_path / "a.tsv").read_text().splitlines() if line[0] != "#"]
    assert [row[2] for row in rows] == list(ONE + TWO)
    assert [float(row[3]) for row in rows[:30]] == pytest.approx(wanted.scores.tolist(), abs=1e-5)
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["offsets"].tolist() == [0, 30, 50]
        np.testing.assert_allclose(arrays["by_letter"][:30], wanted.by_letter, atol=1e-5)
        about = json.loads(str(arrays["about"]))
    assert (about["method"], about["target"], about["baseline"]) == ("ig", "log-odds of gc", "uniform")
    assert "log-odds of gc" in (tmp_path / "a.svg").read_text()


def test_regions_keep_their_places(inputs: Path, tmp_path: Path) -> None:
    ran = run(inputs, "lm", "-f", "ref.fa", "-r", "chr1:11-30", "--method", "ism", "-q")
    assert (ran.exit_code, ran.stderr) == (0, "")
    rows = [line.split("\t") for line in ran.stdout.splitlines() if line[0] != "#"]
    assert [(row[0], int(row[1])) for row in rows] == [("chr1", pos) for pos in range(11, 31)]
    assert "".join(row[2] for row in rows) == letters(100, 3)[10:30]
    bed = tmp_path / "in.bed"
    bed.write_text("chr1\t10\t30\tx\t0\t-\n")
    reverse = run(inputs, "lm", "-f", "ref.fa", "--bed", str(bed), "--method", "ixg", "-q")
    rows = [line.split("\t") for line in reverse.stdout.splitlines() if line[0] != "#"]
    assert [int(row[1]) for row in rows] == list(range(30, 10, -1))
    table = str.maketrans("ACGT", "TGCA")
    assert "".join(row[2] for row in rows) == letters(100, 3)[10:30][::-1].translate(table)


def test_the_predicted_class_is_the_default(inputs: Path) -> None:
    ran = run(inputs, "cls", "in.fa", "--method", "ixg")
    assert ran.exit_code == 0, ran.stderr
    (target,) = [line for line in ran.stdout.splitlines() if line.startswith("##target=")]
    assert target in (
        "##target=log-odds of at",
        "##target=log-odds of gc",
        "##target=log-odds of at, log-odds of gc",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cls"], "give either a FASTA"),
        (["cls", "in.fa", "-r", "chr1:1-5", "-f", "ref.fa"], "give the sequences once"),
        (["cls", "-r", "chr1:1-5"], "needs the genome"),
        (["cls", "in.fa", "--class", "cg"], "'cg' is not one of at, gc"),
        (["cls", "in.fa", "--position", "3"], "says one thing of a sequence"),
        (["cls", "in.fa", "-o", "a.pkl"], "expected a name that ends in"),
        (["numbers", "in.fa"], "name one with --class: 0, 1"),
        (["lm", "in.fa", "--class", "gc"], "this is a language model"),
        (["lm", "-f", "ref.fa", "-r", "chr1:1-80"], "64 tokens"),
        (["nowhere", "in.fa"], "nowhere"),
        (["cls", "none.fa"], "none.fa"),
    ],
)
def test_bad_input_is_one_line_and_code_three(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(inputs, *arguments)
    assert ran.exit_code == 3, ran.stderr
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
