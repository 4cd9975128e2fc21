"""The commands of recipes/score_at_scale are commands that there are, and its smoke test runs."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pysam
import pytest
import typer

from genomix_cli.commands import merge, score, tile
from tests.cli.test_score import ENVIRONMENT, inputs
from tests.conftest import ROOT

__all__ = ["inputs"]

FOLDER = ROOT / "recipes" / "score_at_scale"
COMMAND = re.compile(r"genomix (score|merge|tile) (.*)")


def options_of(verb: str) -> set[str]:
    app = typer.Typer()
    commands: dict[str, Callable[..., None]] = {
        "score": score.command,
        "merge": merge.command,
        "tile": tile.command,
    }
    app.command()(commands[verb])
    return {option for parameter in typer.main.get_command(app).params for option in parameter.opts}


@pytest.mark.parametrize(
    "name", ["README.md", "slurm.sh", "Snakefile", "main.nf", "smoke.sh", "ray_two_nodes.sh"]
)
def test_every_option_is_known(name: str) -> None:
    text = re.sub(r"\\{1,2}\n\s*|\" \+ str\(N\) \+ \" \"\n\s*\"", " ", (FOLDER / name).read_text())
    found = COMMAND.findall(text)
    assert found
    for verb, words in found:
        known = options_of(verb)
        used = set(re.findall(r"(?<![\w/])(--?[a-zA-Z][\w-]*)", words))
        assert used <= known, (verb, used - known)


def test_smoke(inputs: Path, tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, arguments in (("genomix", "-m genomix_cli.main"), ("python", "")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (commands / name).chmod(0o755)
    environment = {**ENVIRONMENT, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(
        ["bash", str(FOLDER / "smoke.sh"), str(inputs / "model"), str(tmp_path / "out")],
        env=environment,
        check=True,
        capture_output=True,
        timeout=240,
    )
    with pysam.VariantFile(str(tmp_path / "out" / "scored.vcf.gz")) as found:
        assert sum(1 for _ in found) == 3893
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *(f"part.{number}.vcf.gz" for number in (1, 2)),
        "scored.vcf.gz",
        "scored.vcf.gz.csi",
    ]
