"""One process and two, on real ranks: the same step, measured."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from genomix.bench.parallel import ParallelCase, _add_longest
from genomix_cli.parallel_bench import print_processes
from genomix_data.errors import ConfigError
from tests.conftest import PACKAGES, ROOT


def measured(*options: str) -> dict[str, Any]:
    paths = os.pathsep.join(str(ROOT / package) for package in PACKAGES)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
        "genomix_cli.main", "bench", "parallel", "--model", "hyenadna/demo", "--dtype", "fp32", "--device", "cpu",
        "--steps", "1", "--json", *options,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)  # of the first process alone
    return result


@pytest.mark.parametrize("axis", ["context", "shard"])
def test_two_processes_make_the_step_of_one(axis: str) -> None:
    result = measured("--axis", axis, "--lengths", "64,128")
    assert [(row["processes"], row["L"]) for row in result["rows"]] == [(1, 64), (2, 64), (1, 128), (2, 128)]
    for one, two in zip(result["rows"][::2], result["rows"][1::2], strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert two["loss_differs_by"] < 1e-5
        windows = 1 if axis == "context" else 2
        assert two["tokens_per_s"] == pytest.approx(windows * two["L"] / two["ms"] * 1000, rel=1e-2)
        assert two["times_as_fast"] == pytest.approx(two["tokens_per_s"] / one["tokens_per_s"], rel=1e-2)
    assert result["command"].startswith("torchrun --nproc-per-node 2 -m genomix_cli.main bench parallel")


def test_one_process_is_told_how_to_start_more() -> None:
    with pytest.raises(ConfigError, match="Start it with torchrun"):
        ParallelCase(model="hyenadna/demo", axis="data", lengths=(64,)).shape(1)


def test_the_longest_window_lies_on_the_line_through_the_two_longest() -> None:
    rows: list[dict[str, Any]] = [
        {"processes": 1, "L": 1000, "peak_gb": 2.0},
        {"processes": 1, "L": 2000, "peak_gb": 3.0},
        {"processes": 1, "L": 3000, "error": "out of memory"},
        {"processes": 2, "L": 1000, "peak_gb": 1.5},
        {"processes": 2, "L": 2000, "peak_gb": 2.0},
    ]
    _add_longest(rows, 10.0)
    assert rows[1]["longest"] == 9000
    assert rows[4]["longest"] == 18_000
    assert rows[4]["times_as_long"] == 2.0
    assert "times_as_long" not in rows[1]
    assert "longest" not in rows[2]


def test_how_much_longer_windows_may_be_is_said_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    about = {"model": "hyenadna/demo", "axis": "context", "B": 1, "ms": 1.0, "tokens_per_s": 1.0, "loss": 1.0}
    rows: list[dict[str, Any]] = [
        {**about, "processes": n, "L": 1000 * k, "peak_gb": k / n} for n in (1, 2) for k in (1, 2)
    ]
    _add_longest(rows, 10.0)
    print_processes({"rows": rows})
    said = capsys.readouterr().out.splitlines()[-2:]
    assert said == [
        "1 process: windows of up to 10,000 tokens, by peak memory",
        "2 processes: windows of up to 20,000 tokens, by peak memory, 2.00 times those of one",
    ]
