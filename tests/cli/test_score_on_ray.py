"""``genomix score --engine ray``: what it refuses, without a cluster."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genomix_cli.main import app
from tests.cli.test_score import arguments, inputs

__all__ = ["inputs"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--engine", "ray", "--shard", "1/2", "-o", "x.vcf"], "leave out --shard 1/2"),
        (["--engine", "ray"], "cannot be standard output; give -o FILE"),
        (["--engine", "ray", "-o", "x.vcf", "-W"], "leave out -W"),
        (["--ray-workers", "2", "-o", "x.vcf"], "--ray-workers is of --engine ray"),
        (["--ray-address", "auto", "-o", "x.vcf"], "--ray-address is of --engine ray"),
        (["--ray-gpus", "1", "-o", "x.vcf"], "--ray-gpus is of --engine ray"),
        (["--engine", "ray", "--ray-gpus", "2", "-o", "x.vcf"], "a worker's model is on one GPU"),
    ],
)
def test_options_that_do_not_fit(inputs: Path, more: list[str], message: str) -> None:
    ran = CliRunner().invoke(app, ["score", *arguments(inputs), *more])
    assert ran.exit_code == 3, ran.output
    assert message in " ".join(ran.stderr.split())


def test_standard_input(inputs: Path, tmp_path: Path) -> None:
    out = ["--engine", "ray", "-o", str(tmp_path / "x.vcf")]
    ran = CliRunner().invoke(app, ["score", *arguments(inputs, "-"), *out], input="")
    assert ran.exit_code == 3, ran.output
    assert "standard input cannot be read by several workers" in " ".join(ran.stderr.split())


def test_ray_that_is_not_installed(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    out = ["--engine", "ray", "-o", str(tmp_path / "x.vcf")]
    ran = CliRunner().invoke(app, ["score", *arguments(inputs), *out])
    assert ran.exit_code == 3, ran.output
    assert "Ray is not installed" in ran.stderr
    assert "pip install 'genomix-fm[ray]'" in ran.stderr
    assert not list(tmp_path.iterdir())
