import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genomix_cli.main import app
from tests.cli.tiny import TINY_MODEL
from tests.conftest import PACKAGES, ROOT, RunGenomix
from tests.genomix.training_helpers import letters, write_fasta

TINY = [
    *TINY_MODEL,
    "data.seqlen=32",
    "data.batch_size=4",
]


def plan(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments])


def test_a_plan_is_a_table_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_fasta(tmp_path / "g.fa", chr1=letters(2000, 1))
    before = sorted(tmp_path.rglob("*"))
    done = plan("data.fasta=g.fa", *TINY, "trainer.markov_order=2", "-o", "run")
    assert done.exit_code == 0, done.stderr
    for words in (
        "hyenadna/demo",
        "peak of training",
        "tokens a second",
        "a checkpoint",
        "1,800 training",
        "fits",
    ):
        assert words in done.stdout
    left = {path.suffix for path in tmp_path.rglob("*") if path not in before}
    assert left <= {".fai"}  # the index of the genome, as every command makes it


def test_genomes_may_be_left_out() -> None:
    without = plan(*TINY, "--json", "--quiet")
    assert (without.exit_code, without.stderr) == (0, "")
    values = json.loads(without.stdout)
    assert values["n_train_bases"] is values["epochs"] is values["memory"]["context_models"] is None
    counted = json.loads(plan(*TINY, "data.n_bases=3.1e9", "--gpus", "2", "--json", "-q").stdout)
    assert counted["n_train_bases"] == pytest.approx(2.79e9)
    assert counted["epochs"] == pytest.approx(10_000 * 4 * 32 / 2.79e9)
    assert counted["n_processes"] == 2


def test_what_does_not_fit_is_said_with_changes_and_an_exit_code() -> None:
    done = plan("model=evo2/40b_base", "data.seqlen=8192", "data.batch_size=2", "trainer.device=cpu")
    assert done.exit_code == 1
    for words in ("does not fit", "what to change", "trainer.recompute=block", "estimated", "not known"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.n_bases=many"], "data.n_bases=many is no number of bases"),
        (["data.n_bases=-3"], "is no number of bases"),
        (["data.fasta=nowhere.fa", "data.n_bases=1e6"], "leave out data.fasta"),
        (["data.fasta=nowhere.fa"], "nowhere.fa"),
        (["trainer.max_step=3"], "did you mean 'trainer.max_steps'?"),
        (["data.batch_size=3", "--gpus", "2"], "cannot be shared evenly"),
        (["parallel.context=2", "--gpus", "3"], "needs a multiple of 2 processes"),
        (["data.seqlen=4096"], "model.l_max=64"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_measured(arguments: list[str], message: str) -> None:
    done = plan(*TINY, *arguments)
    assert (done.exit_code, done.stdout) == (3, "")
    assert message in done.stderr


# a process is born with the largest resident set of its parent, pytest; its own peak is what /proc says
WITH_PEAK = """
import atexit, pathlib, re, runpy
status = pathlib.Path("/proc/self/status")
leave = lambda: pathlib.Path("peak").write_text(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1])
atexit.register(leave)
runpy.run_module("genomix_cli.main", run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here to ask for the peak")
def test_predicted_memory_is_that_of_a_run(tmp_path: Path, run_genomix: RunGenomix) -> None:
    write_fasta(tmp_path / "g.fa", chr1=letters(100_000, 1))
    settings = [
        "data.fasta=g.fa",
        "model=hyenadna/demo",
        "data.batch_size=4",
        "trainer.device=cpu",
        "trainer.max_steps=2",
        "trainer.markov_order=2",
        "data.valid_windows=4",
    ]
    planned = run_genomix("plan", *settings, "--json")
    assert planned.returncode == 0, planned.stderr
    predicted = json.loads(planned.stdout)["memory"]["most"]
    subprocess.run(
        [sys.executable, "-c", WITH_PEAK, "pretrain", *settings, "-o", "run", "--quiet"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / package) for package in PACKAGES)},
        check=True,
    )
    measured = int((tmp_path / "peak").read_text()) * 1024
    assert predicted == pytest.approx(measured, rel=0.15)
