"""``genomix score`` as a process: streams, exit codes, files, and what it imports."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pysam
import pytest
import torch
from typer.testing import CliRunner

from genomix.checkpoint.native import save_model
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix_cli.main import app
from genomix_data.tokenizers import CharTokenizer
from genomix_data.vcf import open_vcf
from tests.conftest import PACKAGES, ROOT, RunGenomix
from tests.genomix.variant_effect.conftest import random_bases, write_fasta

CONTIG = random_bases(3000, 21)
COMMAND = [sys.executable, "-m", "genomix_cli.main", "score"]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(str(ROOT / package) for package in PACKAGES),
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model``, ``ref.fa`` and ``in.vcf`` (12 SNVs, one deletion, one ``<DEL>``)."""
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(3)
    model = HyenaDNA(HyenaDNAConfig(d_model=16, n_layers=1, d_inner=32, l_max=64))
    save_model(model, folder / "model", tokenizer=CharTokenizer(), provenance={}, card="For tests.")
    write_fasta(folder / "ref.fa", {"chr1": CONTIG})
    (folder / "in.vcf").write_text(vcf_of([100 * i for i in range(1, 13)], symbolic=True))
    return folder


def vcf_of(positions: list[int], *, symbolic: bool = False) -> str:
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for pos in positions:
        ref = chr(CONTIG[pos - 1])
        lines.append(f"1\t{pos}\t.\t{ref}\t{'ACGT'['ACGT'.index(ref) - 1]}\t29.0\tPASS\tAF=0.5")
    if symbolic:
        lines.append(f"1\t2000\t.\t{CONTIG[1999:2003].decode()}\t{chr(CONTIG[1999])}\t.\t.\t.")
        lines.append(f"1\t2100\t.\t{chr(CONTIG[2099])}\t<DEL>\t.\t.\tEND=2200")
    return "\n".join(lines) + "\n"


def arguments(inputs: Path, vcf: str = "in.vcf") -> list[str]:
    source = "-" if vcf == "-" else str(inputs / vcf)
    return [source, "-f", str(inputs / "ref.fa"), "-m", str(inputs / "model"), "--device", "cpu"]


def test_file_with_index_and_report(run_genomix: RunGenomix, inputs: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out.vcf.gz", tmp_path / "run.json"
    ran = run_genomix(
        "score", *arguments(inputs), "-o", str(out), "-W", "--report", str(report), "--per-strand"
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    assert "14 records, 13 of 14 alleles scored" in ran.stderr
    assert "SYMBOLIC 1" in ran.stderr
    with pysam.VariantFile(str(out)) as found:
        rows = list(found.fetch("1", 0, 2500))
    assert [row.info["GMX_STATUS"][0] for row in rows] == ["OK"] * 13 + ["SYMBOLIC"]
    for row in rows[:13]:
        strands = row.info["GMX_LLR_FWD"][0] + row.info["GMX_LLR_RC"][0]
        assert row.info["GMX_LLR"][0] == pytest.approx(strands / 2, abs=1e-5)
    told = json.loads(report.read_text())
    assert told["summary"]["alleles_scored"] == 13
    assert told["command"].startswith("genomix score")
    header = "".join(str(line) for line in rows[0].header.records)
    assert "##genomixCommand=genomix score" in header
    assert "Context=64" in header, "the default window is the context of a small model"


def test_stdin_to_stdout(run_genomix: RunGenomix, inputs: Path) -> None:
    text = (inputs / "in.vcf").read_text()
    ran = run_genomix("score", *arguments(inputs, "-"), "--quiet", stdin=text)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    found = [line for line in ran.stdout.splitlines() if not line.startswith("#")]
    given = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line.split("\t")[:7] for line in found] == [line.split("\t")[:7] for line in given]
    assert found[0].split("\t")[7].startswith("AF=0.5;GMX_LLR=")


@pytest.mark.parametrize("kind", ["z", "b", "u", "t"])
def test_every_kind_on_stdout(inputs: Path, tmp_path: Path, kind: str) -> None:
    ran = CliRunner().invoke(app, ["score", *arguments(inputs), "-O", kind, "-q"])
    assert ran.exit_code == 0, ran.stderr
    path = tmp_path / "out"
    path.write_bytes(ran.stdout_bytes)
    if kind == "t":
        assert ran.stdout_bytes.count(b"\n1\t") == 14
    else:
        with open_vcf(path) as reader:
            assert sum(1 for _ in reader) == 14


def test_strict_writes_and_exits_with_4(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tsv"
    ran = CliRunner().invoke(app, ["score", *arguments(inputs), "-o", str(out), "--strict"])
    assert ran.exit_code == 4
    assert out.exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--window", "65"], "--window 64"),
        (["-f", "none.fa"], "none.fa"),
        (["-m", "none"], "none"),
        (["-W"], "an index can be written"),
        (["--check-ref", "e", "--max-ref-mismatch", "7"], "max_ref_mismatch"),
        (["--contig-map", "none.tsv"], "none.tsv"),
        (["-r", "chr1:100-200"], "bcftools index"),
        (["-t", "chr1", "-T", "x.bed"], "-t and -T were both given"),
        (["-t", "chr7"], "contig 'chr7'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_3(
    inputs: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    ran = CliRunner().invoke(app, ["score", *arguments(inputs), "-o", str(tmp_path / "out.vcf"), *more])
    assert ran.exit_code == 3, ran.stderr
    assert ran.stdout == ""
    assert message in ran.stderr
    assert ran.stderr.startswith("error: ")
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_usage_error_is_exit_code_2(inputs: Path) -> None:
    ran = CliRunner().invoke(app, ["score", str(inputs / "in.vcf")])
    assert ran.exit_code == 2
    assert "--fasta" in ran.stderr


def test_wrong_assembly_prints_nothing_on_stdout(run_genomix: RunGenomix, inputs: Path) -> None:
    lines = (inputs / "in.vcf").read_text().replace("\tAF=0.5", "\t.").splitlines()
    swapped = [
        "\t".join([*(fields := line.split("\t"))[:3], fields[4], fields[3], *fields[5:]])
        if line.startswith("1") and "<" not in line
        else line
        for line in lines
    ]
    ran = run_genomix("score", *arguments(inputs, "-"), stdin="\n".join(swapped[:-2]) + "\n")
    assert ran.returncode == 3
    assert ran.stdout == ""
    assert "wrong assembly?" in ran.stderr


def test_neither_lightning_nor_hydra_is_imported(inputs: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from genomix_cli.main import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "heavy = {'lightning', 'pytorch_lightning', 'hydra', 'omegaconf', 'torchmetrics', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, "score", *arguments(inputs), "-o", str(tmp_path / "out.vcf"), "-q"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ran.stdout == "[]\n"


def test_reader_of_the_pipe_may_leave(inputs: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.vcf"
    many.write_text(vcf_of(list(range(100, 2900)) * 4))
    command = [*COMMAND, str(many), *arguments(inputs)[1:], "-q"]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"##fileformat")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=120) == 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_leaves_nothing(inputs: Path, tmp_path: Path, sent: signal.Signals, code: int) -> None:
    """The input is a pipe that stays open, so the run is surely amid its work."""
    out = tmp_path / "out.vcf.gz"
    command = [*COMMAND, *arguments(inputs, "-"), "-o", str(out)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(vcf_of(list(range(100, 2900)) * 2).encode())
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline, "the run did not begin to write"
            time.sleep(0.05)
        process.send_signal(sent)
        assert process.wait(timeout=60) == code
        process.stdin.close()
    assert list(tmp_path.iterdir()) == []


def test_regions_targets_and_normalize(inputs: Path, tmp_path: Path) -> None:
    out, report, targets = tmp_path / "out.tsv", tmp_path / "report.json", tmp_path / "x.bed"
    targets.write_text("chr1\t99\t300\n")
    base = ["score", *arguments(inputs), "-o", str(out), "--report", str(report)]
    for more, n_records in (
        (["-t", "chr1:100-200,chr1:2000"], 3),
        (["-T", str(targets)], 3),
        (["-T", f"^{targets}", "--normalize"], 11),
    ):
        assert CliRunner().invoke(app, [*base, *more]).exit_code == 0
        assert json.loads(report.read_text())["summary"]["records"] == n_records


def test_a_vcf_that_breaks_its_specification_is_scored_and_told_of(inputs: Path, tmp_path: Path) -> None:
    source, report = tmp_path / "in.vcf", tmp_path / "report.json"
    source.write_text((inputs / "in.vcf").read_text().replace("AF=0.5", "AF=-1;AF=x y").rstrip("\n"))
    base = ["score", str(source), *arguments(inputs)[1:], "-o", str(tmp_path / "out.vcf")]
    ran = CliRunner().invoke(app, [*base, "--report", str(report)])
    assert ran.exit_code == 0
    assert "the VCF breaks its specification (carried as it came): INFO has a white-space (12)" in " ".join(
        ran.stderr.split()
    )
    faults = json.loads(report.read_text())["summary"]["vcf_faults"]
    assert faults["INFO AF comes twice"] == 12
    assert faults["the last line has no line end: the file may be cut"] == 1
    ran = CliRunner().invoke(app, [*base[:1], *arguments(inputs), *base[-2:]])
    assert "breaks its specification" not in ran.stderr
