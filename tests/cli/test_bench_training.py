"""``genomix bench training`` from the command line."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from genomix_cli.main import app
from tests.conftest import RunGenomix

TINY = [
    "model=hyenadna/demo",
    "model.d_model=16",
    "model.d_inner=32",
    "data.seqlen=64",
    "data.batch_size=2",
    "trainer.device=cpu",
]


def test_json_on_stdout_and_each_measurement_on_stderr(run_genomix: RunGenomix) -> None:
    ran = run_genomix("bench", "training", *TINY, "--seconds", "0.05", "--rounds", "1", "--json")
    assert ran.returncode == 0, ran.stderr
    result: dict[str, Any] = json.loads(ran.stdout)
    assert [row["part"] for row in result["rows"]] == ["step", "loop", "fed", "loader"]
    assert result["command"].startswith("genomix bench training model=hyenadna/demo")
    assert result["meta"]["packages"]["torch"]
    assert ran.stderr.count("tokens/s") == 4


def test_the_table_fits_a_terminal() -> None:
    ran = CliRunner().invoke(app, ["bench", "training", *TINY, "--seconds", "0.05", "--rounds", "1"])
    assert ran.exit_code == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].split() == [
        "what",
        "tokens/s",
        "lowest",
        "highest",
        "of",
        "step",
        "at",
        "best",
        "peak",
        "GB",
    ]
    assert lines[1].startswith("step, resident batch")
    assert max(map(len, lines[:5])) <= 90


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["training", "data.seqlne=64"], "did you mean 'data.seqlen'?"),
        (["training", "data.fasta=absent.fa"], "absent.fa"),
        (["training", "--rounds", "0"], "--rounds"),
        (["training", "--fasta", "a.fa"], "such as data.fasta=genome.fa"),
        (["training", "--model", "sh2/7m"], "such as model=hyenadna/tiny-1k"),
        (["models", "data.seqlen=64"], "only genomix bench training takes settings of a run"),
    ],
    ids=str,
)
def test_bad_requests_end_in_one_line(argv: list[str], says: str) -> None:
    ran = CliRunner().invoke(app, ["bench", *argv])
    assert ran.exit_code in (2, 3)
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr
