"""Convolutions in CUDA C++ go through nvcc's front end, where there is one, with the macros that calls really have.

The compiler for the CPU that other tests use lets pass what this one refuses: functions that are used but not defined.
"""

import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from genomix_kernels.cuda_support import CudaSource, Defines
from genomix_kernels.fftconv import onepass_cuda, split_cuda, split_passes


class Compiler:
    """Stands for ``launch``: compiles for an architecture, once each, and runs nothing."""

    def __init__(self, folder: Path, nvcc: str) -> None:
        self.compiled: set[str] = set()
        self._folder, self._nvcc = folder, nvcc

    def __call__(self, source: CudaSource, defines: Defines, *_launch: Any, **_cluster: int) -> None:
        text = source.text(defines)
        if text in self.compiled:
            return
        self.compiled.add(text)
        file = self._folder / f"{source.kernel}.cu"
        file.write_text(text, encoding="utf-8")
        # NVRTC takes for an error what nvcc warns of: a function that is used but not defined
        options = ["-std=c++17", "-arch=sm_90a", "-ptx", "--diag-error=114"]
        command = [self._nvcc, *options, "-o", str(file.with_suffix(".ptx")), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{source.kernel} {dict(defines)}\n{done.stdout}{done.stderr}"


def _compile(kernels: ModuleType, seqlen: int) -> None:
    """Call whatever has a kernel, with gates and without."""
    u = torch.zeros(1, 1, seqlen, dtype=torch.bfloat16)
    h, skip = torch.zeros(1, seqlen), torch.zeros(1)
    prepared = (
        kernels.spectrum(h, seqlen, u.dtype) if kernels is onepass_cuda else kernels.spectrum(h, seqlen)
    )
    if kernels is split_cuda and split_cuda.takes_filter(u):
        split_cuda.convolve_with(u, h, skip)
        split_cuda.convolve_with(u, h, skip, leaves_spectrum=True)
    for gates in ((), (u, u)):
        kernels.convolve(u, prepared, skip, *gates)
        kernels.backward(u, u, prepared, skip, seqlen, *gates)
    kernels.filter_gradient(u, u, seqlen)


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("there is no nvcc")
    found = Compiler(tmp_path, nvcc)
    for module in (onepass_cuda, split_cuda, split_passes):
        monkeypatch.setattr(module, "launch", found)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seqlen", [300, 3_000, 16_384, 65_536])
def test_one_pass(seqlen: int, compiler: Compiler) -> None:
    _compile(onepass_cuda, seqlen)
    assert len(compiler.compiled) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("seqlen", [200_000, 450_000, 1_000_000, 1_500_000])
def test_pieces(seqlen: int, compiler: Compiler) -> None:
    _compile(split_cuda, seqlen)
    assert len(compiler.compiled) >= 8
