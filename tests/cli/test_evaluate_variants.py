"""``genomix evaluate variants``: from scores that are there or made now, to a page, JSON and a table."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genomix.checkpoint.native import save_model
from genomix.checkpoint.shipped import DEFAULT_MODEL, shipped_row
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix_cli.main import app
from genomix_data import samples
from genomix_data.tokenizers import CharTokenizer
from tests.genomix.variant_effect.conftest import random_bases, write_fasta

CONTIG = random_bases(400, 31)
BRCA1 = str(samples.path("brca1_sge.vcf.gz"))


def evaluate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", "variants", *arguments])


def test_scores_that_are_there(tmp_path: Path) -> None:
    page, numbers = tmp_path / "report.html", tmp_path / "report.json"
    fields = ["--score-field", "FS", "--score-field", "HG19POS", "--higher-means", "negative"]
    ran = evaluate(
        BRCA1, "--label", "CLASS", "--positive", "LOF", *fields, "-o", str(page), "-o", str(numbers)
    )
    assert ran.exit_code == 0, ran.stderr
    assert "1.000 (1.000 to 1.000)" in ran.stdout
    assert "LOF / FUNC" in ran.stdout
    assert "3,893 alleles; left out: none" in ran.stdout
    found = json.loads(numbers.read_text())
    assert found["evaluation"]["scores"]["FS"]["overall"]["auroc"]["value"] == 1.0
    assert found["evaluation"]["scores"]["FS"]["by_class"]["INT"]["n_negative"] == 249
    assert found["provenance"]["variants"] == "brca1_sge.vcf.gz"
    text = page.read_text()
    assert "3,893" in text
    assert "FUNC, INT" in text
    assert text.count("data:image/svg+xml") == 5
    assert "http" not in text.replace("http://www.w3.org", "")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model``, ``ref.fa``, and ``in.vcf`` and ``in.csv``, whose 40 variants are benign or not."""
    folder = tmp_path_factory.mktemp("inputs")
    model = HyenaDNA(HyenaDNAConfig(d_model=8, n_layers=1, d_inner=16, l_max=64))
    save_model(model, folder / "model", tokenizer=CharTokenizer(), provenance={}, card="For tests.")
    write_fasta(folder / "ref.fa", {"chr1": CONTIG})
    vcf = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    table = ["chrom,pos,ref,alt,verdict"]
    for number, pos in enumerate(range(40, 360, 8)):
        ref = chr(CONTIG[pos - 1])
        alt = "<DEL>" if number == 5 else "ACGT"["ACGT".index(ref) - 1]
        verdict = "bad" if number % 3 == 0 else "good"
        vcf.append(f"chr1\t{pos}\t.\t{ref}\t{alt}\t.\t.\tVERDICT={verdict}")
        table.append(f"chr1,{pos},{ref},{alt},{verdict}")
    (folder / "in.vcf").write_text("\n".join(vcf) + "\n")
    (folder / "in.csv").write_text("\n".join(table) + "\n")
    return folder


@pytest.mark.parametrize(("name", "label"), [("in.vcf", "VERDICT"), ("in.csv", "verdict")])
def test_scoring_first(inputs: Path, tmp_path: Path, name: str, label: str) -> None:
    model = ["-f", str(inputs / "ref.fa"), "-m", str(inputs / "model"), "--window", "32", "--device", "cpu"]
    kept = tmp_path / "scored.vcf"
    arguments = [str(inputs / name), "--label", label, "--positive", "bad", *model, "--scored", str(kept)]
    ran = evaluate(*arguments, "--json", "-o", str(tmp_path / "report.html"))
    assert ran.exit_code == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["by_status"] == {"OK": 39, "SYMBOLIC": 1}
    score = found["scores"]["GMX_LLR"]
    assert (score["higher_means"], score["n_unscored"]) == ("negative", 1)
    assert (score["overall"]["n_positive"], score["overall"]["n_negative"]) == (14, 25)
    assert "SYMBOLIC" in (tmp_path / "report.html").read_text()
    if name == "in.vcf":
        again = evaluate(str(kept), "--label", label, "--positive", "bad", "--json")
        assert json.loads(again.stdout)["scores"]["GMX_LLR"]["overall"]["auroc"] == pytest.approx(
            score["overall"]["auroc"]
        )


def test_without_a_model_the_one_that_ships_scores(inputs: Path, tmp_path: Path) -> None:
    arguments = [str(inputs / "in.vcf"), "--label", "VERDICT", "--positive", "bad", "--device", "cpu"]
    report = tmp_path / "report.json"
    ran = evaluate(*arguments, "-f", str(inputs / "ref.fa"), "--window", "32", "-o", str(report))
    assert ran.exit_code == 0, ran.stderr
    about = json.loads(report.read_text())["provenance"]
    assert about["model"] == DEFAULT_MODEL
    assert about["model_sha256"] == shipped_row(DEFAULT_MODEL).sha256


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--label", "CLASS", "--positive", "lof", "--score-field", "FS"], "Did you mean 'LOF'"),
        (["--label", "CLAS", "--positive", "LOF"], "Did you mean 'CLASS'"),
        (["--label", "CLASS", "--positive", "LOF"], "Score it first (`genomix score`)"),
        (["--label", "CLASS", "--positive", "LOF", "-o", "a.pdf"], "written as .html or .json"),
        (["--label", "CLASS", "--positive", "LOF", "-m", "human-2m"], "needs the genome too"),
        (["--label", "CLASS", "--positive", "LOF", "--window", "9"], "are of scoring"),
        (
            ["--label", "CLASS", "--positive", "LOF", "-f", "a", "-m", "b", "--score-field", "FS"],
            "scores that are there already",
        ),
    ],
)
def test_bad_input_is_one_line_and_code_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = evaluate(BRCA1, *more)
    assert ran.exit_code == 3, ran.stderr
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_model_command_may_be_named_or_not() -> None:
    for words in (["evaluate"], ["evaluate", "model"]):
        ran = CliRunner().invoke(app, [*words, "nowhere", "table.csv"])
        assert ran.exit_code == 3
        assert "nowhere" in ran.stderr
    help_page = CliRunner().invoke(app, ["evaluate", "--help"])
    assert help_page.exit_code == 0
    assert "variants" in help_page.stdout
    options_first = CliRunner().invoke(app, ["evaluate", "--json", "nowhere", "table.csv"])
    assert options_first.exit_code == 3
