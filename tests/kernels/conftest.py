from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.kernels.cuda_on_cpu import has_compiler, launch_on_cpu

Emulate = Callable[..., None]
"""Takes modules that launch CUDA C++, and makes them launch it on this CPU until the test ends."""


@pytest.fixture(autouse=True)
def fresh_memory_is_nan() -> Iterator[None]:
    """Fill every new tensor with NaN, so that an element which a kernel does not write fails its test."""
    was = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(was)


@pytest.fixture(scope="session")
def compiled_kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what g++ made of the kernels is kept for the session."""
    return tmp_path_factory.mktemp("cuda_on_cpu")


@pytest.fixture
def emulate(compiled_kernels: Path, monkeypatch: pytest.MonkeyPatch) -> Emulate:
    """Skip where there is no compiler."""
    if not has_compiler():
        pytest.skip("there is no g++ to compile CUDA C++ for this CPU")

    def patch(*modules: Any) -> None:
        for module in modules:
            monkeypatch.setattr(module, "launch", partial(launch_on_cpu, compiled_kernels))

    return patch
