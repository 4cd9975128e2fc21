"""Bad input, through the front door: one line with a remedy, exit code 3, no traceback, nothing half-written."""

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from genomix.checkpoint.native import save_model
from genomix.heads.classifier import SequenceClassifier
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.registry import get_model
from genomix_cli.main import app
from genomix_data import samples
from genomix_data.tokenizers import CharTokenizer

LAMBDA, BRCA1 = str(samples.path("lambda.fa.gz")), str(samples.path("brca1_region.fa.gz"))
TINY = ["model.d_model=16", "model.d_inner=32", "model.l_max=130", "data.seqlen=64", "trainer.max_steps=1"]


@dataclass(frozen=True)
class Case:
    """A command on bad input, and what its one line must say: what came, and what to do."""

    command: Callable[[Path], list[str]]
    says: tuple[str, ...]


def _file(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def _pretrain(folder: Path, fasta: str, *more: str) -> list[str]:
    return ["pretrain", f"data.fasta={fasta}", *TINY, *more, "-o", str(folder / "out")]


def _model(folder: Path, *, classifier: bool = False) -> str:
    torch.manual_seed(0)
    config = get_model("hyenadna/demo").config
    assert isinstance(config, HyenaDNAConfig)
    model = HyenaDNA(replace(config, d_model=16, d_inner=32, l_max=130))
    return str(
        save_model(
            SequenceClassifier(model, 2) if classifier else model,
            folder / "model",
            tokenizer=CharTokenizer(),
            head={"class_names": ["0", "1"]} if classifier else None,
            provenance={},
            card="",
        )
    )


def _score(folder: Path, vcf: str, fasta: str = LAMBDA, *, classifier: bool = False) -> list[str]:
    model = _model(folder, classifier=classifier)
    return ["score", vcf, "-f", fasta, "-m", model, "-o", str(folder / "out.vcf")]


def _finetune(folder: Path, train: str, *more: str) -> list[str]:
    test = _file(folder, "test.csv", "sequence,label\nACGTACGT,0\nGGGTACGT,1\n")
    return ["finetune", f"data.train={train}", f"data.test={test}", *more, "-o", str(folder / "out")]


def _table(folder: Path, *rows: str) -> str:
    return _file(folder, "train.csv", "\n".join(["sequence,label", *rows]) + "\n")


def _in_read_only_folder(folder: Path) -> list[str]:
    (folder / "genomes").mkdir()
    return _pretrain(folder, _file(folder / "genomes", "unindexed.fa", ">a\n" + "ACGT" * 500 + "\n"))


VCF = (
    "##fileformat=VCFv4.2\n##contig=<ID={0},length={1}>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    "{0}\t{2}\t.\t{3}\tT\t.\t.\t.\n"
)
LAMBDA_NAME = "gi|9626243|ref|NC_001416.1|"

CASES = {
    "missing FASTA": Case(lambda f: _pretrain(f, str(f / "gone.fa")), ("gone.fa", "does not exist")),
    "empty FASTA": Case(lambda f: _pretrain(f, _file(f, "empty.fa", "")), ("empty.fa", "empty")),
    "no index, read-only folder": Case(
        _in_read_only_folder, ("unindexed.fa", "samtools faidx", "GENOMIX_INDEX_DIR")
    ),
    "duplicate contigs": Case(
        lambda f: _pretrain(f, _file(f, "twice.fa", ">a\nACGT\n>b\nACGT\n>a\nACGT\n")), ("twice.fa", "'a'")
    ),
    "not a letter of IUPAC": Case(
        lambda f: _pretrain(f, _file(f, "odd.fa", ">a\nACGTAC!TAC\n")), ("odd.fa", "'!'", "a:7")
    ),
    "plain gzip": Case(
        lambda f: _pretrain(f, _file(f, "plain.fa.gz", gzip.compress(b">a\nACGT\n"))),
        ("plain.fa.gz", "bgzip"),
    ),
    "truncated bgzip": Case(
        lambda f: _pretrain(f, _file(f, "cut.fa.gz", Path(LAMBDA).read_bytes()[:9000])),
        ("cut.fa.gz", "truncated"),
    ),
    "BED out of range": Case(
        lambda f: _pretrain(
            f, LAMBDA, "data.bed=" + _file(f, "far.bed", f"{LAMBDA_NAME}\t0\t9000000\ttrain\n")
        ),
        ("far.bed:1", "48,502"),
    ),
    "VCF of another assembly": Case(
        lambda f: _score(f, _file(f, "hg38.vcf", VCF.format("chr1", 248956422, 1000, "A"))),
        ("chr1", "GRCh38", "--contig-map"),
    ),
    "contig of another length": Case(
        lambda f: _score(f, _file(f, "other.vcf", VCF.format(LAMBDA_NAME, 50000, 1000, "A"))),
        ("50,000", "48,502"),
    ),
    "truncated VCF": Case(
        lambda f: _score(f, _file(f, "cut.vcf.gz", samples.path("brca1_sge.vcf.gz").read_bytes()[:20000])),
        ("cut.vcf.gz", "truncated"),
    ),
    "label column missing": Case(
        lambda f: _finetune(f, _file(f, "train.csv", "sequence,labels\nACGT,0\n")), ("'label'", "labels")
    ),
    "one class only": Case(lambda f: _finetune(f, _table(f, *["ACGTACGT,1"] * 8)), ("train.csv", "class")),
    "letters in a table": Case(
        lambda f: _finetune(f, _table(f, "ACGT,0", "AC-GT,1")), ("train.csv:3", "'-'")
    ),
    "sequence longer than l_max": Case(
        lambda f: _finetune(
            f,
            _table(f, "ACGT,0", "A" * 200 + ",1", *["ACGT,0", "ACGG,1"] * 9),
            *TINY[:3],
            "data.drop_shared=false",
        ),
        ("200", "130"),
    ),
    "classifier where a language model is needed": Case(
        lambda f: _score(f, str(samples.path("brca1_sge.vcf.gz")), BRCA1, classifier=True),
        ("is a classifier", "genomix pretrain"),
    ),
    "language model where a classifier is needed": Case(
        lambda f: ["evaluate", _model(f), _table(f, "ACGT,0", "ACGG,1")],
        ("is a language model", "genomix finetune"),
    ),
    "no checkpoint": Case(
        lambda f: ["score", str(samples.path("brca1_sge.vcf.gz")), "-f", BRCA1, "-m", str(f)],
        ("not a checkpoint",),
    ),
    "misspelt config key": Case(
        lambda f: _pretrain(f, LAMBDA, "trainer.max_step=5"), ("trainer.max_step", "trainer.max_steps")
    ),
    "misspelt model": Case(lambda f: _pretrain(f, LAMBDA, "model=hyenadna/tiny1k"), ("hyenadna/tiny-1k",)),
    "windows longer than l_max": Case(
        lambda f: _pretrain(f, LAMBDA, "data.seqlen=500"), ("data.seqlen is 500", "l_max=130")
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_with_a_remedy(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    argv = case.command(tmp_path)
    if "read-only" in name:
        real = os.access

        def access(path: str | os.PathLike[str], mode: int, **more: bool) -> bool:
            # the tests may run as root, for whom no folder is read-only
            return not (mode & os.W_OK and Path(path).name == "genomes") and real(path, mode, **more)

        monkeypatch.setattr(os, "access", access)
    before = set(tmp_path.rglob("*"))
    result = CliRunner().invoke(app, argv, env={"COLUMNS": "10000"})
    assert result.exit_code == 3, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for part in case.says:
        assert part in lines[0]
    left = {path.name for path in tmp_path.rglob("*")} - {path.name for path in before}
    assert not [n for n in left if n.startswith((".", "out"))], f"left behind: {left}"
