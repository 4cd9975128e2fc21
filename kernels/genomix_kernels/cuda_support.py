"""CUDA C++ kernels without a compiler at installation: compiled by NVRTC through cuda-core when first used, and kept.

A kernel is source text in this package. Its settings are macros; each set is compiled once for an architecture and kept
on disk (``GENOMIX_CACHE``, else ``~/.cache/genomix``), under the digest of all that it was made of.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent
WARP_SOURCE = PACKAGE / "cuda" / "warp.cuh"

Defines = Mapping[str, int | str]

ELEMENTS = {torch.float32: "float", torch.bfloat16: "Bf16", torch.float16: "Fp16"}
"""How the sources call what tensors hold."""


@dataclass(frozen=True, slots=True)
class CudaSource:
    """One kernel: its name, and the files that are compiled together, in their order."""

    kernel: str
    files: tuple[Path, ...]

    def text(self, defines: Defines, warp_source: Path = WARP_SOURCE) -> str:
        """Return all of the source, macros first.

        Args:
            defines: Macros that the source asks for.
            warp_source: What a warp's threads do together; another file where there is no GPU.
        """
        macros = [f"#define {name} {value}" for name, value in defines.items()]
        files = [path.read_text(encoding="utf-8") for path in (warp_source, *self.files)]
        return "\n".join([*macros, *files]).replace("#pragma once", "")


def element_of(x: Tensor | None) -> str:
    """Return how a source calls what a tensor holds; ``float`` where there is none."""
    return ELEMENTS[torch.float32 if x is None else x.dtype]


def strides_of_rows(*tensors: Tensor | None) -> list[int]:
    """Return how far the next sequence and the next channel of each (B, D, L) are, in elements; 0 for None."""
    return [n for x in tensors for n in ((0, 0) if x is None else (x.stride(0), x.stride(1)))]


@cache
def why_no_nvrtc() -> str | None:
    """Return what this installation lacks to compile CUDA C++, or None."""
    for package, module in (("cuda-core", "cuda.core"), ("cuda-bindings", "cuda.bindings")):
        if importlib.util.find_spec("cuda") is None or importlib.util.find_spec(module) is None:
            return f"{package} is not installed (pip install 'genomix-fm[cuda]')"
    if not hasattr(importlib.import_module("cuda.core"), "Program"):
        return f"cuda-core {importlib.metadata.version('cuda-core')} is too old (pip install -U cuda-core)"
    return None


def why_unavailable() -> str | None:
    """Return what this machine lacks for CUDA C++ kernels to be chosen, or None."""
    return why_no_nvrtc() if torch.cuda.is_available() else "no CUDA device on this machine"


def why_not_cuda(oldest: tuple[int, int], *tensors: Tensor) -> str | None:
    """Return why a CUDA C++ kernel cannot take these tensors, or None.

    Args:
        oldest: Compute capability that the kernel needs.
        tensors: What it would be given.
    """
    for tensor in tensors:
        if not tensor.is_cuda:
            return f"the tensors are on the {tensor.device.type.upper()}"
        if tensor.device != tensors[0].device:
            return f"the tensors are on different devices, {tensors[0].device} and {tensor.device}"
    if torch.version.hip is not None:
        return "the device is not NVIDIA's"
    return why_no_nvrtc() or _why_not_capability(oldest, tensors[0].device)


@cache
def _why_not_capability(oldest: tuple[int, int], device: torch.device) -> str | None:
    if torch.cuda.get_device_capability(device) < oldest:
        return (
            f"{torch.cuda.get_device_name(device)} is older than compute capability {oldest[0]}.{oldest[1]}"
        )
    return None


def launch(
    source: CudaSource,
    defines: Defines,
    grid: tuple[int, ...],
    block: int,
    shared: int,
    *arguments: Tensor | int | None,
    cluster: int = 1,
) -> None:
    """Launch a kernel on the current stream of the device of its first tensor.

    Args:
        source: The kernel.
        defines: Its macros.
        grid: Blocks along up to three axes; clusters where there are any.
        block: Threads of a block.
        shared: Bytes of shared memory of a block.
        arguments: Pointers (tensors; None for a null pointer) and 64-bit integers, in the order of the parameters.
        cluster: Blocks of a cluster, along the first axis; from compute capability 9.0 on.
    """
    from cuda.core import LaunchConfig
    from cuda.core import launch as launch_kernel

    device = next(x.device for x in arguments if isinstance(x, Tensor))
    kernel = _kernel(source, tuple(defines.items()), device.index, shared, cluster)
    values = [x.data_ptr() if isinstance(x, Tensor) else x or 0 for x in arguments]
    stream = _stream(torch.cuda.current_stream(device).cuda_stream)
    config = LaunchConfig(grid=grid, cluster=cluster if cluster > 1 else None, block=block, shmem_size=shared)
    launch_kernel(stream, config, kernel, *values)


@cache
def _stream(handle: int) -> Any:
    from cuda.core import Stream

    return Stream.from_handle(handle)


@cache
def _kernel(
    source: CudaSource,
    defines: tuple[tuple[str, int | str], ...],
    device_index: int,
    shared: int,
    cluster: int,
) -> Any:
    from cuda.core import Device, ObjectCode

    device = Device(device_index)
    device.set_current()
    major, minor = device.compute_capability
    cubin = _cubin(source, dict(defines), f"sm_{major}{minor}{'a' if major == 9 else ''}")
    kernel = ObjectCode.from_cubin(cubin).get_kernel(source.kernel)
    # beyond these a kernel has to ask
    if shared > 48 * 1024:
        _set_attribute(kernel, "MAX_DYNAMIC_SHARED_SIZE_BYTES", shared, device_index)
    if cluster > 8:
        _set_attribute(kernel, "NON_PORTABLE_CLUSTER_SIZE_ALLOWED", 1, device_index)
    return kernel


def _set_attribute(kernel: Any, name: str, value: int, device_index: int) -> None:
    from cuda.bindings import driver

    attribute = getattr(driver.CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")
    (status,) = driver.cuKernelSetAttribute(attribute, value, kernel.handle, device_index)
    if int(status):
        raise RuntimeError(f"setting {name} of a kernel to {value} failed: CUDA error {int(status)}.")


def _cubin(source: CudaSource, defines: Defines, architecture: str) -> bytes:
    text = source.text(defines)
    compiler = importlib.metadata.version("cuda-core"), torch.version.cuda
    digest = hashlib.sha256(repr((text, architecture, compiler)).encode()).hexdigest()[:32]
    path = cache_folder() / f"{source.kernel}-{architecture}-{digest}.cubin"
    if path.is_file():
        return path.read_bytes()
    logger.info("compiling %s for %s", source.kernel, architecture)
    cubin = _compiled(source.kernel, text, architecture)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            part.write(cubin)
        Path(part.name).replace(path)
    except OSError as error:  # a read-only home costs a compilation in each process, nothing else
        logger.warning("compiled kernels cannot be kept in %s: %s", path.parent, error)
    return cubin


def _compiled(name: str, text: str, architecture: str) -> bytes:
    from cuda.core import Program, ProgramOptions

    options = ProgramOptions(
        name=name, std="c++17", arch=architecture, device_as_default_execution_space=True
    )
    code = Program(text, "c++", options).compile("cubin").code
    assert isinstance(code, bytes)
    return code


def cache_folder() -> Path:
    """Return where compiled kernels are kept."""
    root = os.environ.get("GENOMIX_CACHE")
    base = (
        Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genomix"
    )
    return base / "kernels"
