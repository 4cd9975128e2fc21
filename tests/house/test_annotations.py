"""Annotations that newer libraries cannot evaluate."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

OF_ALIAS = re.compile(r"\b(?:Float|Float32|Float64|Int|Int32|Int64|UInt8|UInt64|Bool|Shaped|Num)\[NDArray\b")


@pytest.mark.parametrize(
    "package", ["genomix", "data/genomix_data", "kernels/genomix_kernels", "cli/genomix_cli"]
)
def test_jaxtyping_gets_no_type_alias(package: str) -> None:
    """From NumPy 2.5 on ``NDArray[...]`` is an alias, which jaxtyping refuses when the module is imported."""
    wrong = [
        f"{path}:{number}"
        for path in sorted(Path(ROOT, package).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if OF_ALIAS.search(line)
    ]
    assert not wrong, "take np.ndarray in the brackets"
