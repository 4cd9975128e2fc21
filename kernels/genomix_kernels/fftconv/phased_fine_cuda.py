"""Long convolutions in phases, fp32 throughout: the ``precision="high"`` path of `phased_cuda`, on CUDA cores.

The same transform with sizes that are powers of two, and the same functions. See ``cuda/phased_fine.cuh``.
"""

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.cuda_support import PACKAGE, CudaSource, launch, why_not_cuda

OLDEST_CAPABILITY = (8, 0)
LONGEST = 1 << 22
ROW = 4096
"""Points of a row."""

GROUP_BYTES = 128 << 20
"""Planes of a group of channels."""

_FOLDER = PACKAGE / "fftconv" / "cuda"
_COMMON = (PACKAGE / "cuda" / "element.cuh", _FOLDER / "phased_fine.cuh")
COLUMNS = CudaSource("phased_fine_columns", (*_COMMON, _FOLDER / "phased_fine_columns.cu"))
ROWS = CudaSource("phased_fine_rows", (*_COMMON, _FOLDER / "phased_fine_rows.cu"))

_KINDS = {"spectrum": 0, "convolve": 1, "adjoint": 2, "gradient": 3}


def spectrum(h: Float[Tensor, "D K"], seqlen: int) -> Float[Tensor, "D M 2"]:
    """Return the filter's spectrum in fp32 planes, as `convolve` takes it.

    Args:
        h: Filter, ``(channel, filter_len)``; fp32.
        seqlen: Tokens of the sequences that it will be applied to; at least ``filter_len``.
    """
    h = h if h.stride(1) == 1 else h.contiguous()
    prepared = torch.empty(h.shape[0], _size(seqlen), 2, device=h.device, dtype=torch.float32)
    _columns(prepared, h[None], None)
    _rows("spectrum", prepared, None, h.shape[0], 1)
    return prepared


def convolve(
    u: Float[Tensor, "B D L"],
    prepared: Float[Tensor, "D M 2"],
    skip: Float[Tensor, " D"] | None,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
    *,
    is_adjoint: bool = False,
    second: Float[Tensor, "B D L"] | None = None,
    second_gate: Float[Tensor, "B D L"] | None = None,
) -> Float[Tensor, "B D L"]:
    """As `phased_cuda.convolve`, for fp32 signals."""
    if second is not None:
        ungated = convolve(u, prepared, skip, pre_gate, is_adjoint=is_adjoint)
        second.copy_(ungated if second_gate is None else ungated * second_gate)
        return ungated if post_gate is None else ungated * post_gate
    batch, channels, seqlen = u.shape
    size = _size(seqlen)
    if prepared.shape != (channels, size, 2):
        raise ValueError(f"the prepared filter is {tuple(prepared.shape)}; expected {(channels, size, 2)}.")
    y = torch.empty(batch, channels, seqlen, device=u.device, dtype=torch.float32)
    at_once = min(channels, max(1, GROUP_BYTES // (8 * batch * size)))
    planes = torch.empty(at_once * batch, size, 2, device=u.device, dtype=torch.float32)
    for first in range(0, channels, at_once):
        group = slice(first, first + at_once)
        of_u, pre, post = (None if x is None else x[:, group] for x in (u, pre_gate, post_gate))
        assert of_u is not None
        _columns(planes, of_u, pre)
        _rows("adjoint" if is_adjoint else "convolve", planes, prepared[group], batch * of_u.shape[1], batch)
        _columns(planes, of_u, pre, post, None if skip is None else skip[group], y=y[:, group])
    return y


def filter_gradient(
    x: Float[Tensor, "B D L"],
    dy: Float[Tensor, "B D L"],
    filter_len: int,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
) -> Float[Tensor, "D K"]:
    """As `phased_cuda.filter_gradient`, for fp32 signals."""
    batch, channels, seqlen = x.shape
    size = _size(seqlen)
    dh = torch.empty(channels, filter_len, device=x.device, dtype=torch.float32)
    at_once = min(channels, max(1, GROUP_BYTES // (16 * batch * size)))
    planes = torch.empty(2, at_once * batch, size, 2, device=x.device, dtype=torch.float32)
    for first in range(0, channels, at_once):
        group = slice(first, first + at_once)
        _columns(planes[0], x[:, group], None if pre_gate is None else pre_gate[:, group])
        _columns(planes[1], dy[:, group], None if post_gate is None else post_gate[:, group])
        _rows("gradient", planes[0], planes[1], dh[group].shape[0], batch)
        _columns(planes[0], x[:, group], None, y=dh[None, group], row_step=batch)
    return dh


def why_not(
    u: Tensor, h: Tensor | None = None, pre_gate: Tensor | None = None, post_gate: Tensor | None = None
) -> str | None:
    """Return why these kernels cannot serve, or None."""
    tensors = [x for x in (u, h, pre_gate, post_gate) if x is not None]
    reason = why_not_cuda(OLDEST_CAPABILITY, *tensors)
    if reason is not None:
        return reason
    if any(x.dtype is not torch.float32 for x in tensors):
        return "a tensor is not in fp32"
    if u.shape[-1] > LONGEST:
        return f"{u.shape[-1]} tokens are more than {LONGEST}"
    if any(x.stride(-1) != 1 for x in tensors if x is not h):
        return "the last stride is not 1"
    return None


def _size(seqlen: int) -> int:
    return max(2 * ROW, 1 << (seqlen - 1).bit_length())


def _lanes(n1: int) -> int:
    """Return how many columns a block takes: 4096 points, at least four columns of 16 bytes."""
    return max(4, min(32, 4096 // n1))


@cache
def _turns(n: int, count: int, step: int, device: torch.device) -> Tensor:
    """Return ``exp(-2 pi i step j / n)``, j < count."""
    angle = (torch.arange(count, device=device) * step % n).double() * (-2 * math.pi / n)
    return torch.stack((angle.cos(), angle.sin()), dim=-1).float()


def _columns(
    planes: Tensor,
    u: Tensor,
    pre: Tensor | None,
    post: Tensor | None = None,
    skip: Tensor | None = None,
    y: Tensor | None = None,
    row_step: int = 1,
) -> None:
    """Transform the columns of ``u`` to planes or, with ``y``, those of planes to ``y``."""
    batch, channels, seqlen = u.shape if y is None else y.shape
    size = planes.shape[-2]
    n1, device = size // ROW, u.device
    lanes = _lanes(n1)
    defines: dict[str, int | str] = {
        "FP16": 0, "N1": n1, "N2": ROW, "LANES": lanes, "INPUT": "float", "IS_BACK": int(y is not None),
        "HAS_GATE": int(pre is not None), "HAS_POST": int(post is not None), "HAS_SKIP": int(skip is not None),
    }  # fmt: skip
    tables = (
        _turns(n1, n1, 1, device), _turns(4 * n1, n1, 4 * n1 - 1 if y is None else -1 % (4 * n1), device),
        _turns(4 * size, 4 * size // 4096, 4096, device), _turns(4 * size, 4096, 1, device),
    )  # fmt: skip
    strides = [n for x in (u, pre, post, y) for n in ((0, 0) if x is None else x.stride()[:2])]
    launch(
        COLUMNS, defines, (ROW // lanes, batch * channels), 256, 16 * n1 * lanes, u, pre, post, skip, y, planes,
        *tables, batch, row_step, seqlen, *strides,
    )  # fmt: skip


def _rows(kind: str, planes: Tensor, others: Tensor | None, rows: int, batch: int) -> None:
    n1 = planes.shape[-2] // ROW
    defines: dict[str, int | str] = {"FP16": 0, "N1": n1, "N2": ROW, "LANES": 1, "INPUT": "float"}
    defines["KIND"] = _KINDS[kind]
    turns = _turns(ROW, ROW, 1, planes.device)
    launch(ROWS, defines, (n1, rows), 256, 16 * ROW, planes, others, turns, batch)
