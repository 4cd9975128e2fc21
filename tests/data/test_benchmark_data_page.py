"""The examples of docs/benchmark-data.md run as written, and its numbers are those of the registry."""

import doctest
from pathlib import Path

import pytest

from genomix_data.benchmarks import benchmark_sets

PAGE = Path(__file__).parents[2] / "docs" / "benchmark-data.md"


def test_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.failed == 0
    assert result.attempted > 15


def test_the_page_knows_how_many_sets_there_are() -> None:
    assert f"genomix knows {len(benchmark_sets())} published data sets" in PAGE.read_text()
