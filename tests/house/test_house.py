"""The house stands: the wheel holds all five packages and their data, and the shell files say what they should."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = {"genomix", "genomix_data", "genomix_kernels", "genomix_configs", "genomix_cli"}


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    out = tmp_path_factory.mktemp("wheel")
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(out)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with zipfile.ZipFile(out / done.stdout.split()[-1]) as wheel:
        return set(wheel.namelist())


def test_the_wheel_holds_five_packages_and_nothing_else(wheel_names: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert all(f"{package}/py.typed" in wheel_names for package in PACKAGES)


@pytest.mark.parametrize(
    "folder", ["genomix", "data/genomix_data", "kernels/genomix_kernels", "configs/genomix_configs"]
)
def test_every_source_file_is_in_the_wheel(wheel_names: set[str], folder: str) -> None:
    base = ROOT / folder
    missing = [
        str(path.relative_to(base.parent))
        for path in base.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if str(path.relative_to(base.parent)) not in wheel_names
    ]
    assert not missing


def test_samples_ship_in_the_wheel(wheel_names: set[str]) -> None:
    assert {"genomix_data/samples/yeast_chrI.fa.gz", "genomix_data/samples/LICENSES.md"} <= wheel_names


def test_the_released_model_is_in_the_repository_only(wheel_names: set[str]) -> None:
    from hatchling.builders.sdist import SdistBuilder

    in_source = {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    assert "recipes/pretrain_human/README.md" in in_source
    assert not [name for name in in_source | wheel_names if "human_6m" in name]


def test_ignore_rules_are_anchored() -> None:
    rules = [line.strip() for line in (ROOT / ".gitignore").read_text().splitlines()]
    names = [rule for rule in rules if rule and not rule.startswith("#")]
    assert not [
        rule for rule in names if not rule.startswith("/") and rule.rstrip("/") in {"data", "models", "out"}
    ]


def test_constraints_satisfy_the_metadata() -> None:
    from packaging.requirements import Requirement

    pins: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if "==" in line:
            name, version = line.split("==")
            pins[name.lower().replace("_", "-")] = version.strip()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        assert requirement.name.lower() in pins, f"{requirement.name} has no pin in constraints.txt"
        assert pins[requirement.name.lower()] in requirement.specifier, text


def test_no_python_file_is_longer_than_400_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for folder in ("genomix", "data", "kernels", "configs", "cli", "tests")
        for path in Path(ROOT / folder).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert not long
