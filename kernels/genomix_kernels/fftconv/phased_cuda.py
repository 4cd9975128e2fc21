"""Long convolutions of up to 4,194,304 tokens in three phases on tensor cores; see ``cuda/phased.cuh``.

Columns, rows, columns: planes of fp16 words are written and read once between phases, a few channels at a time and all
in one launch (``cuda/phased_queue.cuh``). Signals are real and unpadded; any product of the sizes of `plan_for` serves.
"""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genomix_kernels.cuda_support import PACKAGE, CudaSource, launch, strides_of_rows, why_not_cuda
from genomix_kernels.fftconv.phased_plan import LONGEST, Plan, column_tables, plan_for, row_tables

OLDEST_CAPABILITY = (8, 0)

GROUP_BYTES = 64 << 20
"""Planes of a group of channels, two of which are in flight.

Measured at 1M tokens: 16 MB, which an L2 cache holds, leave too few items between those that wait for one another.
"""

SHAPES = {
    "spectrum": {1: (8, 2), 2: (8, 2), 3: (4, 3), 4: (4, 3)},
    "convolve": {1: (8, 2), 2: (8, 2), 3: (4, 3), 4: (4, 3)},
    "gradient": {1: (4, 3), 2: (4, 3), 3: (4, 3), 4: (4, 3)},
}
"""Warps of a block and blocks of a multiprocessor, where columns have 1 to 4 tiles of 16 rows.

The blocks limit the registers of a thread, to 128 with 16 warps and 168 with 12.
"""

IS_COARSE = True
"""Whether stages sum in fp16 where inputs are in bf16, whose own rounding hides it: 2.02e-3 instead of 1.99e-3."""

ITEMS = 528
"""Parts that a group's rows are dealt out in, where they are as many."""

_FOLDER = PACKAGE / "fftconv" / "cuda"
_COMMON = tuple(_FOLDER / f"phased{part}.cuh" for part in ("", "_columns", "_rows", "_queue", "_outputs"))
_ELEMENT = PACKAGE / "cuda" / "element.cuh"
CONVOLVE = CudaSource("phased_convolve", (_ELEMENT, *_COMMON, _FOLDER / "phased_convolve.cu"))
SPECTRUM = CudaSource("phased_spectrum", (_ELEMENT, *_COMMON[:-1], _FOLDER / "phased_spectrum.cu"))
GRADIENT = CudaSource("phased_gradient", (_ELEMENT, *_COMMON, _FOLDER / "phased_gradient.cu"))


def spectrum(h: Float[Tensor, "D K"], seqlen: int) -> Int[Tensor, " words"]:
    """Return the filter as `convolve` takes it: fp16 planes and their scales, opaque.

    Args:
        h: Filter, ``(channel, filter_len)``; fp32, on a CUDA device.
        seqlen: Tokens of the sequences that it will be applied to; at least ``filter_len``.
    """
    plan = plan_for(seqlen)
    h = h if h.stride(1) == 1 else h.contiguous()
    channels, filter_len = h.shape
    prepared = torch.empty(channels * plan.n1 * (plan.n2 + 1), device=h.device, dtype=torch.int32)
    words, scales = _parts(prepared, channels, plan)
    space = _Space.of("spectrum", plan, channels, 1, h.device, n_phases=2, n_planes=2)
    defines = space.defines(h) | {"HAS_GATE": 0}
    launch(
        SPECTRUM, defines, space.grid, space.block, space.shared, h, words, scales, space.planes, space.scales,
        space.progress, column_tables(plan, h.device)[0], *row_tables(plan, h.device), channels, space.at_once,
        space.most_y, filter_len, h.stride(0),
    )  # fmt: skip
    return prepared


def convolve(
    u: Float[Tensor, "B D L"],
    prepared: Int[Tensor, " words"],
    skip: Float[Tensor, " D"] | None,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
    *,
    is_adjoint: bool = False,
    second: Float[Tensor, "B D L"] | None = None,
    second_gate: Float[Tensor, "B D L"] | None = None,
) -> Float[Tensor, "B D L"]:
    """Return ``post_gate * (h * x + skip x)`` for ``x = pre_gate u``, the sums in fp16 planes with fp32 products.

    Args:
        u: Input signal; bf16 or fp16, last stride 1.
        prepared: The filter, of `spectrum` for this seqlen.
        skip: Gain on the unfiltered input; fp32.
        pre_gate: In the dtype of ``u``.
        post_gate: Likewise.
        is_adjoint: Correlate, ``sum_i h[i] x[t + i]``, instead.
        second: Filled with the result before ``post_gate``, or with ``second_gate`` in its place; contiguous.
        second_gate: In the dtype of ``u``.
    """
    batch, channels, seqlen = u.shape
    plan = plan_for(seqlen)
    words, spectrum_scales = _parts(prepared, channels, plan)
    y = torch.empty(batch, channels, seqlen, device=u.device, dtype=u.dtype)
    space = _Space.of("convolve", plan, channels, batch, u.device, n_phases=3, n_planes=2)
    has_pre = int(pre_gate is not None)
    defines = space.defines(u, y, pre_gate, post_gate, second, second_gate) | {
        "HAS_GATE": has_pre, "HAS_PRE": has_pre, "HAS_POST": int(post_gate is not None),
        "SECOND": 0 if second is None else 1 if second_gate is None else 2,
        "HAS_SKIP": int(skip is not None), "IS_ADJOINT": int(is_adjoint),
    }  # fmt: skip
    launch(
        CONVOLVE, defines, space.grid, space.block, space.shared, u, pre_gate, post_gate, second_gate, skip, y, second,
        words, spectrum_scales, space.planes, space.scales, space.row_scales, space.progress,
        *column_tables(plan, u.device), *row_tables(plan, u.device), batch, channels, space.at_once, space.most_y,
        seqlen, *strides_of_rows(u, pre_gate, post_gate, second_gate),
    )  # fmt: skip
    return y


def filter_gradient(
    x: Float[Tensor, "B D L"],
    dy: Float[Tensor, "B D L"],
    filter_len: int,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
) -> Float[Tensor, "D K"]:
    """Return ``dh[i] = sum_(b, t) (post_gate dy)[t] (pre_gate x)[t - i]`` in fp32, summed in a fixed order.

    Args:
        x: Input signal; bf16 or fp16, last stride 1.
        dy: Gradient of the output, likewise.
        filter_len: Lags to return; at most seqlen.
        pre_gate: Multiplies ``x``.
        post_gate: Multiplies ``dy``.
    """
    batch, channels, seqlen = x.shape
    plan = plan_for(seqlen)
    dh = torch.empty(channels, filter_len, device=x.device, dtype=torch.float32)
    space = _Space.of("gradient", plan, channels, batch, x.device, n_phases=3, n_planes=4)
    has_gate = int(pre_gate is not None or post_gate is not None)
    defines = space.defines(x, dy, pre_gate, post_gate, dh) | {
        "HAS_GATE": has_gate, "HAS_PRE": 0, "HAS_POST": 0, "HAS_SKIP": 0, "SECOND": 0
    }  # fmt: skip
    launch(
        GRADIENT, defines, space.grid, space.block, space.shared, x, dy, pre_gate, post_gate, dh, space.planes,
        space.scales, space.row_scales, space.progress, *column_tables(plan, x.device), *row_tables(plan, x.device),
        batch, channels, space.at_once, space.most_y, seqlen, filter_len, *strides_of_rows(x, dy, pre_gate, post_gate),
    )  # fmt: skip
    return dh


def why_not(
    u: Tensor, h: Tensor | None = None, pre_gate: Tensor | None = None, post_gate: Tensor | None = None
) -> str | None:
    """Return why these kernels cannot serve, or None."""
    gates = [x for x in (pre_gate, post_gate) if x is not None]
    reason = why_not_cuda(OLDEST_CAPABILITY, u, *gates, *([] if h is None else [h]))
    if reason is not None:
        return reason
    if u.dtype not in (torch.bfloat16, torch.float16):
        return f"the kernel does not compute in {u.dtype}"
    if any(x.dtype is not u.dtype for x in gates):
        return "a gate is in another dtype than u"
    if h is not None and h.dtype is not torch.float32:
        return "the filter is not in fp32"
    if u.shape[-1] > LONGEST:
        return f"{u.shape[-1]} tokens are more than {LONGEST}"
    if any(x.stride(-1) != 1 for x in (u, *gates)):
        return "the last stride is not 1"
    return None


@dataclass(frozen=True, slots=True)
class _Space:
    """What groups of channels need between phases, and the shape of a launch."""

    plan: Plan
    units: int  # warps of a block
    blocks: int  # blocks of a multiprocessor
    at_once: int  # channels of a group
    most_y: int  # parts that the rows of one k1 are dealt out in
    planes: Tensor  # (planes in flight, rows, n1, n2), fp16 pairs
    scales: Tensor  # of tiles of columns, (..., tiles)
    row_scales: Tensor  # (..., n1)
    progress: Tensor  # the next item, and what is done of each phase of each group

    @classmethod
    def of(
        cls,
        kind: str,
        plan: Plan,
        channels: int,
        batch: int,
        device: torch.device,
        *,
        n_phases: int,
        n_planes: int,
    ) -> "_Space":
        units, blocks = SHAPES[kind][plan.blocks_a]
        at_once = max(1, GROUP_BYTES // (4 * batch * plan.size))
        if (
            kind == "gradient"
        ):  # a block takes all of the batch, so more channels are needed to give all blocks work
            a_set = units // 4 * (16 // plan.span)
            at_once = max(at_once // a_set, -(-ITEMS // plan.n1) // 2, 1) * a_set
        at_once = min(channels, at_once)
        rows = n_planes * at_once * batch
        tiles = plan.n2 // (4 * plan.together * units)
        return cls(
            plan, units, blocks, at_once, -(-ITEMS // plan.n1),
            torch.empty(rows * plan.size, device=device, dtype=torch.int32),
            torch.empty(rows * tiles, device=device, dtype=torch.float32),
            torch.empty(rows * plan.n1, device=device, dtype=torch.float32),
            torch.zeros(1 + n_phases * -(-channels // at_once), device=device, dtype=torch.int32),
        )  # fmt: skip

    @property
    def block(self) -> int:
        return 32 * self.units

    @property
    def shared(self) -> int:
        """Bytes of shared memory: the most of what columns and rows need."""
        units, plan = self.units, self.plan
        columns = 4096 * units * plan.blocks_a + 4 * (units + plan.n1)
        rows = 16 * (6 * 64 + 64 * plan.span) + units // 4 * (2 * 16384 + 64)
        return -(-max(columns, rows) // 16) * 16 + 64

    @property
    def grid(self) -> tuple[int]:
        """Blocks that are on the device at the same time."""
        return (self.blocks * _multiprocessors(self.planes.device),)

    def defines(self, *tensors: Tensor | None) -> dict[str, int | str]:
        given = [x for x in tensors if x is not None]
        plan = self.plan
        return {
            "COARSE": int(IS_COARSE and any(x.dtype is torch.bfloat16 for x in given)),
            "FP16": int(any(x.dtype is torch.float16 for x in given)), "IS_ALIGNED": int(all(map(_is_aligned, given))),
            "RADIX_A": plan.radix_a, "RADIX_B": plan.radix_b, "SPAN": plan.span, "UNITS": self.units,
            "GAIN": f"{plan.gain:.9e}f", "BLOCKS": self.blocks, "SHARED_SIZE": self.shared,
        }  # fmt: skip


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _parts(prepared: Tensor, channels: int, plan: Plan) -> tuple[Tensor, Tensor]:
    """Return the words and the scales of a spectrum."""
    n_words = channels * plan.size
    if prepared.numel() != n_words + channels * plan.n1:
        raise ValueError(
            f"the prepared filter has {prepared.numel()} words, not those of {channels} channels at this seqlen "
            f"({n_words + channels * plan.n1}); prepare it by spectrum(h, seqlen)."
        )
    return prepared[:n_words].view(channels, -1), prepared[n_words:].view(channels, -1)


def _is_aligned(x: Tensor) -> bool:
    """Return whether all rows can be read eight elements at a time, from the first to the last."""
    strides = [s for s, n in zip(x.stride()[:-1], x.shape[:-1], strict=True) if n > 1]
    return x.data_ptr() % 16 == 0 and all(s % 8 == 0 for s in (*strides, x.shape[-1]))
