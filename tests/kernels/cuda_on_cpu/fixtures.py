"""Fixtures for kernels in CUDA C++ that run on a CPU."""

from functools import partial
from pathlib import Path

import pytest

from tests.kernels.cuda_on_cpu import has_compiler, launch_on_cpu


@pytest.fixture(scope="session")
def compiled_kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what g++ made of the kernels is kept for the session."""
    return tmp_path_factory.mktemp("cuda_on_cpu")


@pytest.fixture
def on_cpu(compiled_kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launch the kernels of gated filters on the CPU; skip where there is no compiler."""
    if not has_compiler():
        pytest.skip("there is no g++ to compile CUDA C++ for this CPU")
    from genomix_kernels.hyena_gated import fir_cuda, modal_cuda

    launch = partial(launch_on_cpu, compiled_kernels)
    monkeypatch.setattr(modal_cuda, "launch", launch)
    monkeypatch.setattr(fir_cuda, "launch", launch)
