"""``genomix score --processes``: the command is that of one process, also when it is interrupted or killed."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genomix_cli.main import app
from tests.cli.test_score import COMMAND, ENVIRONMENT, arguments, inputs, vcf_of

__all__ = ["inputs"]


def test_output_report_and_exit_code(inputs: Path, tmp_path: Path) -> None:
    """Under ``--strict``, to standard output."""
    ran, told = [], []
    for n in ("1", "2"):
        report = tmp_path / f"{n}.json"
        more = ["--processes", n, "--threads", "1", "--strict", "--report", str(report)]
        ran.append(CliRunner().invoke(app, ["score", *arguments(inputs), *more]))
        summary = json.loads(report.read_text())["summary"]
        told.append({name: value for name, value in summary.items() if "second" not in name})
    one, two = ran
    assert one.exit_code == two.exit_code == 4
    assert told[0] == told[1]
    assert told[1]["alleles_unscored"] == 1
    lines = [
        [line for line in each.stdout.splitlines() if not line.startswith("##genomixCommand")] for each in ran
    ]
    assert lines[0] == lines[1]
    assert one.stderr.splitlines()[1:] == two.stderr.splitlines()[1:]  # the first has the seconds
    assert "SYMBOLIC 1" in two.stderr


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--shard", "1/2"], 3, "leave out --shard 1/2, or --processes"),
        (["--engine", "ray", "-o", "x.vcf"], 3, "with --engine ray say --ray-workers 2"),
        (["-m", "nowhere"], 3, "no checkpoint folder 'nowhere'"),
        (["--processes", "0"], 2, "--processes"),
    ],
)
def test_what_is_refused(inputs: Path, more: list[str], code: int, message: str) -> None:
    ran = CliRunner().invoke(app, ["score", *arguments(inputs), "--processes", "2", *more])
    assert ran.exit_code == code, ran.output
    assert message in " ".join(ran.stderr.split())


def test_standard_input_is_refused(inputs: Path) -> None:
    ran = CliRunner().invoke(app, ["score", *arguments(inputs, "-"), "--processes", "2"], input="")
    assert ran.exit_code == 3, ran.output
    assert "standard input cannot be read by several processes; give a file" in " ".join(ran.stderr.split())


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)], ids=["interrupted", "killed"]
)
def test_what_is_left_of_a_run_that_was_broken_off(
    inputs: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    """Of an interrupt, which a terminal sends to all processes, nothing; and no process outlives the first."""
    many = inputs / "many.vcf"
    many.write_text(vcf_of([100 + number % 2800 for number in range(8 * 1024)]))
    command = [*COMMAND, str(many), *arguments(inputs)[1:], "-o", str(tmp_path / "out.vcf.gz")]
    command += ["--processes", "2", "--batch-size", "1"]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob(".out.vcf.gz.shards.*/.part.*"))) < 2:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline, "the run did not begin to write"
            time.sleep(0.02)
        assert len(alive_in_session(process.pid)) >= 3
        if sent == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, sent)
        assert process.wait(timeout=60) == code
        assert process.stderr is not None
        said = process.stderr.read()  # ends when the last process has closed it
    while alive_in_session(process.pid):
        assert time.monotonic() < deadline, "a process outlives the run"
        time.sleep(0.02)
    if sent == signal.SIGKILL:
        assert said == ""
        assert not list(tmp_path.glob("out*"))
    else:
        assert said == "interrupted: nothing half-written was left under a final name.\n"
        assert not list(tmp_path.iterdir())


def alive_in_session(session: int) -> list[str]:
    """Return the processes of a session that have not ended."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                state, _, _, of = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended since
            if int(of) == session and state != "Z":
                found.append(process.name)
    return found
