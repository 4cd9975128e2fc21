"""CUDA C++ kernels on a CPU: the same source, compiled by g++, with a warp's operations computed by `warp.h`."""

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path

from torch import Tensor

from genomix_kernels.cuda_support import CudaSource, Defines

HERE = Path(__file__).parent
_MAIN = """
#include <utility>
template <class A> A cast(i64 x) {{
    if constexpr (std::is_pointer_v<A>) return reinterpret_cast<A>(x);
    else return x;
}}
template <class... A, size_t... I> void call(void (*f)(A...), const i64* x, std::index_sequence<I...>) {{
    f(cast<A>(x[I])...);
}}
template <class... A> void call(void (*f)(A...), const i64* x) {{
    call(f, x, std::make_index_sequence<sizeof...(A)>());
}}
extern "C" void run(i64 grid_x, i64 grid_y, int cluster, int threads, i64 shared, const i64* x) {{
    run_grid(grid_x, grid_y, cluster, threads, shared, [=] {{ call({kernel}, x); }});
}}
"""


def has_compiler() -> bool:
    """Return whether there is a g++."""
    return shutil.which("g++") is not None


def launch_on_cpu(
    folder: Path,
    source: CudaSource,
    defines: Defines,
    grid: tuple[int, ...],
    block: int,
    shared: int,
    *arguments: Tensor | int | None,
    cluster: int = 1,
) -> None:
    """As `genomix_kernels.cuda_support.launch`, for tensors on the CPU.

    Args:
        folder: For what is compiled.
        source: As in `launch`, like everything else.
    """
    text = source.text(defines, HERE / "warp.h") + _MAIN.format(kernel=source.kernel)
    path = folder / f"{source.kernel}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    library = path.with_suffix(".so")
    if not library.exists():
        path.with_suffix(".cpp").write_text(text)
        flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-w", "-U_FORTIFY_SOURCE"]
        subprocess.run(["g++", *flags, "-o", str(library), str(path.with_suffix(".cpp"))], check=True)
    values = [x.data_ptr() if isinstance(x, Tensor) else x or 0 for x in arguments]
    run = ctypes.CDLL(str(library)).run
    run.argtypes = [*[ctypes.c_longlong] * 2, *[ctypes.c_int] * 2, ctypes.c_longlong, ctypes.c_void_p]
    both = (ctypes.c_longlong * len(values))(*values)
    run(grid[0], grid[1] if len(grid) > 1 else 1, cluster, block, shared, both)
