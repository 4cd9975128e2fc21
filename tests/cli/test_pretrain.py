import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from genomix_cli.main import app
from tests.cli.tiny import TINY_MODEL
from tests.conftest import PACKAGES, ROOT
from tests.genomix.training_helpers import letters, write_fasta

TINY = [
    *TINY_MODEL,
    "data.seqlen=32",
    "data.batch_size=4",
    "data.holdout=0.1",
    "trainer.markov_order=2",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a small genome in it, entered."""
    write_fasta(tmp_path / "g.fa", chr1=letters(1000, 1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def genomix(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_run_from_the_command_line(folder: Path) -> None:
    done = genomix("pretrain", "data.fasta=g.fa", *TINY, "trainer.max_steps=6", "-o", "run", "--json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["steps"] == 6
    assert "held-out bits per base" in done.stderr
    assert "Markov model of order" in done.stderr
    assert f"{result['held_out']['bits_per_base']:.4f}" in done.stderr
    assert yaml.safe_load(Path("run/config.yaml").read_text())["trainer"]["max_steps"] == 6

    again = genomix("pretrain", "data.fasta=g.fa", *TINY, "-o", "run")
    assert (again.exit_code, again.stdout) == (3, "")
    assert "is not empty: continue it with --resume" in again.stderr
    complete = genomix("pretrain", "--resume", "-o", "run")
    assert complete.exit_code == 3
    assert "is complete (6 steps)" in complete.stderr
    longer = genomix("pretrain", "--resume", "-o", "run", "trainer.max_steps=8", "--quiet")
    assert (longer.exit_code, longer.stdout, longer.stderr) == (0, "", "")
    assert json.loads(Path("run/result.json").read_text())["steps"] == 8
    changed = genomix("pretrain", "--resume", "-o", "run", "optimizer.lr=1e-5")
    assert changed.exit_code == 3
    assert "--resume cannot change it" in changed.stderr


def test_ctrl_c_saves_the_step_and_says_how_to_go_on(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in PACKAGES)}
    settings = ["trainer.max_steps=100000", "trainer.validate_every=1", "schedule=constant"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "genomix_cli.main",
            "pretrain",
            "data.fasta=g.fa",
            *TINY,
            *settings,
            "-o",
            "run",
        ],
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if "step       2" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130, "".join(seen) + rest
    assert "which is saved" in rest
    assert "continue with: genomix pretrain --resume -o run" in rest
    assert "Traceback" not in rest
    assert not Path("run/result.json").exists()
    stopped = re.search(r"after step ([\d,]+) of 100,000", rest)
    assert stopped is not None
    step = int(stopped[1].replace(",", ""))
    on = genomix("pretrain", "--resume", "-o", "run", f"trainer.max_steps={step + 2}")
    assert on.exit_code == 0, on.stderr
    assert f"continuing after step {step}" in on.stderr
    assert json.loads(Path("run/result.json").read_text())["steps"] == step + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.fasta=g.fa", "trainer.max_step=3", "-o", "run"], "did you mean 'trainer.max_steps'?"),
        (["data.fasta=nowhere.fa", "-o", "run"], "nowhere.fa"),
        (["data.fasta=empty.fa", "-o", "run"], "empty.fa"),
        (["data.fasta=twice.fa", "-o", "run"], "chr1"),
        (["data.fasta=letters.fa", "-o", "run"], "letters.fa"),
        (["data.fasta=g.fa", "data.bed=far.bed", "-o", "run"], "far.bed:1"),
        (["data.fasta=g.fa", "data.valid_contigs=[chr1]", "data.test_contigs=[chr9]", "-o", "run"], "'chr9'"),
        (["data.fasta=g.fa", "data.seqlen=4096", "-o", "run"], "model.l_max=1026"),
        (["data.fasta=g.fa"], "give one with -o"),
        (["--resume", "-o", "run"], "no run to continue"),
        (["-o", "run"], "data.fasta is not set"),
    ],
)
def test_bad_input_gets_one_line_and_code_three(folder: Path, arguments: list[str], message: str) -> None:
    (folder / "empty.fa").touch()
    (folder / "twice.fa").write_text(">chr1\nACGT\n>chr1\nACGT\n")
    (folder / "letters.fa").write_text(">chr1\nAC!GT\n")
    (folder / "far.bed").write_text("chr1\t0\t99999\ttrain\n")
    done = genomix("pretrain", *arguments)
    assert done.exit_code == 3
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert not Path("run").exists()


def test_the_settings_can_be_printed(folder: Path) -> None:
    done = genomix("pretrain", "--cfg", "trainer=smoke", "model=hyenadna/demo")
    assert done.exit_code == 0
    values = yaml.safe_load(done.stdout)
    assert values["data"]["fasta"] == "???"
    assert values["trainer"]["max_steps"] == 20
    assert values["model"]["shift"] == 0.0


def test_options_of_ones_own(folder: Path) -> None:
    (folder / "mine" / "trainer").mkdir(parents=True)
    (folder / "mine" / "trainer" / "short.yaml").write_text("defaults: [steps, _self_]\nmax_steps: 3\n")
    done = genomix("pretrain", "--cfg", "--config-dir", "mine", "trainer=short")
    assert yaml.safe_load(done.stdout)["trainer"]["max_steps"] == 3
