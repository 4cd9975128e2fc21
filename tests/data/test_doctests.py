"""The examples in the docstrings of genomix_data run as written."""

import doctest
import importlib
import pkgutil

import pytest

import genomix_data

MODULES = sorted(module.name for module in pkgutil.walk_packages(genomix_data.__path__, "genomix_data."))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 10
