"""``genomix score`` with windows that variants share and with a horizon: options, header, summary."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from genomix.checkpoint.native import save_model
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.variant_effect import ScoreOptions, score_variants
from genomix_cli.main import app
from genomix_data.genome import Genome
from genomix_data.tokenizers import CharTokenizer
from genomix_data.variant import Variant
from genomix_data.vcf import VcfRecord, open_vcf
from tests.genomix.variant_effect.conftest import random_bases, write_fasta

CONTIG = random_bases(3000, 21)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model``, ``ref.fa`` and ``in.vcf``: 120 SNVs, a deletion, a ``<DEL>``."""
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(3)
    model = HyenaDNA(HyenaDNAConfig(d_model=16, n_layers=1, d_inner=32, l_max=64))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "filter" not in name:
                parameter.mul_(12.0)
    save_model(model, folder / "model", tokenizer=CharTokenizer(), provenance={}, card="For tests.")
    write_fasta(folder / "ref.fa", {"chr1": CONTIG})
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for pos in range(20, 2420, 20):
        ref = chr(CONTIG[pos - 1])
        lines.append(f"chr1\t{pos}\t.\t{ref}\t{'ACGT'['ACGT'.index(ref) - 1]}\t.\t.\t.")
    lines.append(f"chr1\t2500\t.\t{CONTIG[2499:2503].decode()}\t{chr(CONTIG[2499])}\t.\t.\t.")
    lines.append(f"chr1\t2600\t.\t{chr(CONTIG[2599])}\t<DEL>\t.\t.\tEND=2700")
    (folder / "in.vcf").write_text("\n".join(lines) + "\n")
    return folder


def arguments(inputs: Path, *more: str) -> list[str]:
    files = [str(inputs / "in.vcf"), "-f", str(inputs / "ref.fa"), "-m", str(inputs / "model")]
    return ["score", *files, "--device", "cpu", *more]


MODES = [
    (
        ["--mode", "tiled", "--stride", "16"],
        ScoreOptions(mode="tiled", stride=16),
        "Mode=tiled,Stride=16,Horizon=.",
    ),
    (["--mode", "tiled"], ScoreOptions(mode="tiled"), "Mode=tiled,Stride=32,Horizon=."),
    (["--horizon", "8"], ScoreOptions(horizon=8), "Mode=exact,Stride=.,Horizon=8"),
    (
        ["--mode", "tiled", "--horizon", "8", "--exact-sample", "20"],
        ScoreOptions(mode="tiled", horizon=8),
        "Mode=tiled,Stride=32,Horizon=8",
    ),
]


@pytest.mark.parametrize(("more", "options", "told"), MODES, ids=lambda value: str(value)[:40])
def test_modes(inputs: Path, tmp_path: Path, more: list[str], options: ScoreOptions, told: str) -> None:
    """Scores are those of the library; the header names the mode; the summary compares with exact scores."""
    out, report = tmp_path / "out.tsv", tmp_path / "run.json"
    ran = CliRunner().invoke(app, arguments(inputs, "-o", str(out), "--report", str(report), *more))
    assert ran.exit_code == 0, ran.stderr
    lines = out.read_text().splitlines()
    (rule,) = [line for line in lines if line.startswith("##genomixWindow=")]
    assert told in rule
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    variants = [Variant(row[0], int(row[1]), row[3], row[4]) for row in rows[:-1]]
    expected = score_variants(variants, Genome(inputs / "ref.fa"), inputs / "model", options)
    assert [float(row[5]) for row in rows[:-1]] == pytest.approx([each.llr for each in expected], abs=1e-4)
    assert rows[-1][5:] == [".", "SYMBOLIC"]

    summary = json.loads(report.read_text())["summary"]
    n_sampled = 20 if "--exact-sample" in more else 64
    found = summary["against_exact"]
    assert found["alleles"] == n_sampled
    assert 0.5 < found["pearson"] < 1.0
    assert 0.5 < found["spearman"] <= 1.0
    assert (summary["mode"], summary["horizon_bp"]) == (options.mode, options.horizon)
    assert f"beside exact mode, {n_sampled} of these alleles: Pearson {found['pearson']:.4f}" in ran.stderr
    again = CliRunner().invoke(app, arguments(inputs, "-o", str(out), "--report", str(report), *more))
    assert again.exit_code == 0
    assert json.loads(report.read_text())["summary"]["against_exact"] == found, "the same sample each time"


def test_exact_mode_compares_with_nothing(inputs: Path, tmp_path: Path) -> None:
    report = tmp_path / "run.json"
    ran = CliRunner().invoke(app, arguments(inputs, "-o", str(tmp_path / "x.vcf"), "--report", str(report)))
    assert ran.exit_code == 0, ran.stderr
    assert "beside exact mode" not in ran.stderr
    assert json.loads(report.read_text())["summary"]["against_exact"] is None
    with open_vcf(tmp_path / "x.vcf") as reader:
        assert any("Mode=exact,Stride=.,Horizon=." in line for line in reader.header.meta)
        assert all(isinstance(record, VcfRecord) for record in reader)


@pytest.mark.parametrize(
    "more", [["--horizon", "8", "--exact-sample", "0"], ["--mode", "tiled", "-t", "chr1:9"]]
)
def test_nothing_to_compare(inputs: Path, tmp_path: Path, more: list[str]) -> None:
    ran = CliRunner().invoke(app, arguments(inputs, "-o", str(tmp_path / "x.vcf"), *more))
    assert ran.exit_code == 0, ran.stderr
    assert "Pearson" not in ran.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--stride", "16"], "stride=16 is of tiled mode, but mode='exact'; add --mode tiled"),
        (["--mode", "tiled", "--stride", "0"], "stride=0 bp; expected 1 to 32"),
        (["--mode", "tiled", "--stride", "33"], "stride=33 bp; expected 1 to 32, half the window of 64 bp"),
        (["--mode", "tiled", "--window", "60", "--stride", "31"], "stride=31 bp; expected 1 to 30"),
        (["--horizon", "-1"], "horizon=-1; expected 0 or more"),
        (["--horizon", "1", "--exact-sample", "-1"], "exact_sample=-1; expected 0"),
    ],
)
def test_wrong_options_are_one_line(inputs: Path, tmp_path: Path, more: list[str], message: str) -> None:
    ran = CliRunner().invoke(app, arguments(inputs, "-o", str(tmp_path / "x.vcf"), *more))
    assert ran.exit_code == 3, ran.stderr
    assert ran.stderr.startswith("error: ")
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_unknown_mode_is_a_usage_error(inputs: Path) -> None:
    ran = CliRunner().invoke(app, arguments(inputs, "--mode", "fast"))
    assert ran.exit_code == 2
    assert "exact" in ran.stderr
