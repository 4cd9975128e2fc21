from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from genomix_kernels.fftconv.onepass_cuda import OLDEST_WITH_CLUSTERS
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


@pytest.fixture(scope="session")
def clusters() -> None:
    """Skip where the blocks of the GPU do not form clusters."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    if torch.cuda.get_device_capability() < OLDEST_WITH_CLUSTERS:
        pytest.skip("blocks of this GPU do not form clusters")


@pytest.fixture
def triton_device(device: str) -> str:
    """A device that Triton's kernels run on: a GPU, or this CPU through the interpreter; skip where there is none."""
    language = pytest.importorskip("triton.language")
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    if device == "cpu" and not isinstance(language.sum, interpreter.InterpretedFunction):
        pytest.skip("Triton was imported without TRITON_INTERPRET=1")
    return device
