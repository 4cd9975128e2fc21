"""``genomix doctor`` and ``genomix models`` say what is there."""

import json

import pytest

from genomix.checkpoint.shipped import DEFAULT_MODEL
from genomix.models.registry import MODELS
from tests.conftest import RunGenomix


def test_doctor_names_devices_kernels_and_what_is_absent(run_genomix: RunGenomix) -> None:
    result = run_genomix("doctor", "--json")
    assert result.returncode == 0, result.stderr
    checks = json.loads(result.stdout)
    groups = {check["group"] for check in checks}
    assert groups == {"machine", "packages", "models that ship", "devices", "kernels", "extras"}
    assert all(check["found"] for check in checks)
    for check in checks:
        if check["group"] in {"devices", "extras"} and check["status"] != "ok":
            assert check["remedy"], check


def test_doctor_on_a_screen(run_genomix: RunGenomix) -> None:
    result = run_genomix("doctor")
    assert result.returncode == 0
    assert "fftconv/reference" in result.stdout
    assert "…" not in result.stdout  # what to install is whole, in a file too


@pytest.mark.parametrize("name", sorted(MODELS))
def test_models_lists_every_size(run_genomix: RunGenomix, name: str) -> None:
    if name == sorted(MODELS)[0]:
        assert all(row in run_genomix("models").stdout for row in MODELS)
    row = MODELS[name].to_dict()
    assert row["name"] == name
    assert json.loads(json.dumps(row)) == row


def test_models_that_ship_come_first(run_genomix: RunGenomix) -> None:
    first = run_genomix("models").stdout.splitlines()[1]
    assert first.startswith(DEFAULT_MODEL)
    assert all(word in first for word in ("1,927,360", "8,192", "fp32", "1.6378 bits per base"))
    shown = run_genomix("models", DEFAULT_MODEL, "--json")
    [row] = json.loads(shown.stdout)
    assert (row["name"], row["config"]["pattern"]) == (DEFAULT_MODEL, "SMLASM")


def test_one_model_in_full(run_genomix: RunGenomix) -> None:
    result = run_genomix("models", "hyenadna/large-1m")
    assert "1000002" in result.stdout.replace(",", "")


@pytest.mark.parametrize(
    ("given", "meant"), [("hyenadna/tiny-1kk", "hyenadna/tiny-1k"), ("human2m", DEFAULT_MODEL)]
)
def test_a_misspelt_model_is_bad_input(run_genomix: RunGenomix, given: str, meant: str) -> None:
    result = run_genomix("models", given)
    assert result.returncode == 3
    assert f"Did you mean {meant!r}?" in result.stderr
    assert "Traceback" not in result.stderr
