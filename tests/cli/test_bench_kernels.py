"""``genomix bench kernels`` as a process: streams, exit codes, the table."""

import json

import pytest

from tests.conftest import RunGenomix


def test_json_on_stdout_progress_on_stderr(run_genomix: RunGenomix) -> None:
    ran = run_genomix("bench", "kernels", "--quick", "--device", "cpu", "--lengths", "32", "--json")
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert {row["op"] for row in result["rows"]} == {"fftconv", "modal_conv", "causal_fir", "hyena_gated"}
    assert {row["dtype"] for row in result["rows"]} == {"bf16"}
    assert all(row["ms"] or row["skipped"] for row in result["rows"])
    assert result["meta"]["command"].startswith("genomix bench kernels --quick")
    assert "modal_conv B=1 D=32 L=32 fwd reference:" in ran.stderr


def test_the_table_fits_100_columns_and_names_what_was_left_out(run_genomix: RunGenomix) -> None:
    ran = run_genomix(
        "bench", "kernels", "--device", "cpu", "--ops", "causal_fir", "--lengths", "32", "--dtype", "fp32"
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].split() == [
        "op",
        "variant",
        "L",
        "mode",
        "backend",
        "ms",
        "x",
        "floor",
        "rel",
        "err",
        "err/rnd",
        "peak",
        "MB",
    ]
    assert max(len(line) for line in lines) <= 100
    assert any(line.startswith("causal_fir K=3") for line in lines)
    assert any(line.startswith("skipped: causal_fir torch_blocked: 3 taps are too few") for line in lines)
    assert "not here: cudnn: needs a CUDA device" in lines


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--ops", "gemm"), "unknown operation 'gemm'"),
        (("--lengths", "1k"), "--lengths is '1k'; give whole numbers"),
        (("--backends", "magic"), "unknown backend 'magic'"),
        (("--dtype", "int8"), "unknown dtype 'int8'"),
        (("--device", "cuda:99"), "device 'cuda:99' is not there"),
    ],
    ids=str,
)
def test_bad_requests_end_in_one_line(run_genomix: RunGenomix, argv: tuple[str, ...], says: str) -> None:
    ran = run_genomix("bench", "kernels", *argv)
    assert ran.returncode == 3
    assert ran.stdout == ""
    assert ran.stderr.startswith("error: ")
    assert ran.stderr.count("\n") == 1
    assert says in ran.stderr
