"""Whole models are measured, of either family."""

import json

import pytest
from typer.testing import CliRunner

from genomix_cli.main import app


@pytest.mark.parametrize("model", ["hyenadna/demo", "sh2/7m"])
def test_every_kind_of_row_of_either_family(model: str) -> None:
    given = ["bench", "models", "--model", model, "--what", "forward,decode,chunked,train", "--lengths", "64"]
    result = CliRunner().invoke(app, [*given, "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [row["what"] for row in rows] == ["forward", "decode", "forward", "train"]
    assert all(row["tokens_per_s"] > 0 for row in rows)
