"""``genomix convert`` as a process: exit codes, the report, and a file that is an attack."""

import json
import os
from pathlib import Path

import torch

from tests.conftest import RunGenomix

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def test_a_checkpoint_becomes_a_folder(run_genomix: RunGenomix, tmp_path: Path) -> None:
    source = FIXTURES / "hyenadna" / "lightning_like.ckpt"
    result = run_genomix("convert", str(source), "model", "--shift", "0", "--report", "report.json")
    assert result.returncode == 0, result.stderr
    assert "hyenadna-lightning -> native" in result.stderr
    assert "lossless" in result.stderr
    assert result.stdout == ""
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["config"]["l_max"] == 256
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_an_attack_is_bad_input_and_does_nothing(run_genomix: RunGenomix, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {marker}",)

    torch.save({"state_dict": {"x": torch.ones(1)}, "evil": Malicious()}, tmp_path / "evil.ckpt")
    result = run_genomix("convert", "evil.ckpt", "model")
    assert result.returncode == 3
    assert "refused" in result.stderr
    assert "Traceback" not in result.stderr
    assert not marker.exists()
    assert not (tmp_path / "model").exists()


def test_a_layout_that_is_none_is_usage(run_genomix: RunGenomix) -> None:
    assert run_genomix("convert", "a", "b", "--to", "gguf").returncode == 2


def test_a_missing_file_is_bad_input(run_genomix: RunGenomix) -> None:
    result = run_genomix("convert", "absent.pt", "model")
    assert result.returncode == 3
    assert "there is no checkpoint 'absent.pt'" in result.stderr


def test_a_folder_with_something_else_in_it_is_not_replaced(run_genomix: RunGenomix, tmp_path: Path) -> None:
    source = str(FIXTURES / "hyenadna" / "lightning_like.ckpt")
    assert run_genomix("convert", source, "work/model", "--shift", "0").returncode == 0
    assert (
        run_genomix("convert", source, "work/model", "--shift", "0").returncode == 0
    )  # a conversion may be repeated
    before = sorted(path.name for path in tmp_path.rglob("*"))
    result = run_genomix("convert", source, "work", "--shift", "0")
    assert result.returncode == 3
    assert "holds model, which would be lost" in result.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
