"""Inputs and comparisons for the tests of `causal_fir`."""

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple, get_args

import pytest
import torch
from torch import Tensor

from genomix_kernels.causal_fir import TapOrder, causal_fir, causal_fir_extend
from genomix_kernels.dispatch import implementations
from genomix_kernels.testing import check_against_reference

BACKENDS = [implementation.name for implementation in implementations("causal_fir")]


ORDERS: tuple[TapOrder, ...] = get_args(TapOrder)


# of any arguments: those of a table come as a dictionary
fir: Callable[..., Tensor] = causal_fir


fir_extend: Callable[..., tuple[Tensor, Tensor]] = causal_fir_extend


class Size(NamedTuple):
    batch: int
    channels: int
    seqlen: int
    filter_len: int
    groups: int

    def __str__(self) -> str:
        return f"B{self.batch}-D{self.channels}-L{self.seqlen}-K{self.filter_len}-G{self.groups}"


SIZES = [
    Size(1, 1, 1, 1, 1),
    Size(3, 3, 1, 129, 3),
    Size(1, 15, 2, 7, 3),
    Size(3, 5, 63, 1, 5),
    Size(1, 15, 63, 128, 5),
    Size(3, 5, 64, 3, 5),
    Size(1, 15, 64, 129, 3),
    Size(1, 15, 65, 7, 3),
    Size(3, 15, 65, 128, 1),
    Size(1, 15, 127, 3, 5),
    Size(1, 15, 127, 129, 3),
    # where kernels change: 8 lags, blocks of 64 lags, more channels in a group than rows in a tile
    Size(1, 9, 130, 9, 3),
    Size(1, 9, 130, 10, 3),
    Size(1, 9, 130, 65, 1),
    Size(1, 9, 200, 66, 3),
    Size(1, 9, 300, 193, 3),
    Size(1, 9, 300, 256, 1),
    Size(1, 67, 70, 17, 1),
    Size(3, 5, 1000, 7, 5),
    Size(1, 15, 1000, 128, 3),
    Size(1, 9, 8192, 7, 3),
    Size(1, 15, 8192, 128, 3),
    Size(1, 9, 8193, 3, 1),
    Size(1, 15, 8193, 129, 3),
]


INTERPRETED = [
    (size, dtype, order)
    for size, dtype, order in zip(SIZES, cycle([torch.float32, torch.float16]), cycle(reversed(ORDERS)))
    if size.seqlen <= 300
]


ARGUMENTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "bias": ("bias",),
    "skip": ("skip",),
    "pre_gate": ("pre_gate",),
    "post_gate": ("post_gate",),
    "all": ("bias", "skip", "pre_gate", "post_gate"),
}


def make_inputs(
    size: Size, dtype: torch.dtype, device: str = "cpu", *, arguments: str = "bias"
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(size.seqlen + size.filter_len)
    batch, channels, seqlen, filter_len, groups = size
    signal = (batch, channels, seqlen)
    shapes: dict[str, tuple[int, ...]] = {
        "u": signal,
        "taps": (groups, filter_len),
        "bias": (channels,),
        "skip": (channels,),
        "pre_gate": signal,
        "post_gate": signal,
    }
    made = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    chosen = ("u", "taps", *ARGUMENTS[arguments])
    return {name: made[name].to(device, dtype) for name in chosen}


def skip_unless_served(backend: str, **arguments: Any) -> None:
    """Skip, with the backend's own reason, what it says that it cannot serve."""
    chosen = next(each for each in implementations("causal_fir") if each.name == backend)
    names = ("u", "taps", "bias", "skip", "pre_gate", "post_gate", "tap_order", "tail")
    defaults = {"tap_order": "convolution"}
    reason = chosen.supports(*(arguments.get(name, defaults.get(name)) for name in names))
    if reason is not None:
        pytest.skip(f"{backend}: {reason}")


def direct_sum(
    u: Tensor,
    taps: Tensor,
    bias: Tensor,
    skip: Tensor,
    pre_gate: Tensor,
    post_gate: Tensor,
    tap_order: TapOrder,
) -> Tensor:
    h = (taps if tap_order == "convolution" else taps.flip(-1)).repeat_interleave(u.shape[1] // len(taps), 0)
    m = pre_gate * u
    y = bias[:, None] + skip[:, None] * m
    for t in range(u.shape[-1]):
        for i in range(min(t + 1, h.shape[-1])):
            y[..., t] += h[:, i] * m[..., t - i]
    return post_gate * y


CASES = [
    ("reference", torch.bfloat16, ORDERS[1]),
    ("torch_conv", torch.float64, ORDERS[0]),
    ("torch_conv", torch.float32, ORDERS[1]),
    ("torch_conv", torch.bfloat16, ORDERS[0]),
    ("torch_blocked", torch.float64, ORDERS[1]),
    ("torch_blocked", torch.bfloat16, ORDERS[0]),
    ("triton", torch.float32, ORDERS[0]),
    ("triton", torch.bfloat16, ORDERS[1]),
    ("triton", torch.float16, ORDERS[0]),
]


def check_strides(kernel: Any, filter_len: int, dtype: torch.dtype, device: str) -> None:
    """Views of larger tensors, features last, expanded, and a gradient with the features last."""
    inputs = make_inputs(Size(3, 5, 70, filter_len, 5), dtype, device, arguments="all")

    def of_views(function: Any, u: Tensor, pre_gate: Tensor, post_gate: Tensor, **rest: Tensor) -> Tensor:
        u = u.transpose(1, 2).contiguous().transpose(1, 2)
        pre_gate = torch.stack([pre_gate, pre_gate], dim=2)[:, :, 1]
        post_gate = torch.nn.functional.pad(post_gate, (3, 5))[..., 3:-5][:1].expand(3, -1, -1)
        y: Tensor = function(u, **rest, pre_gate=pre_gate, post_gate=post_gate)
        return y.transpose(1, 2).contiguous()

    reference = partial(causal_fir, backend="reference")
    check_against_reference(partial(of_views, kernel), partial(of_views, reference), inputs, dtype=dtype)


MISSHAPEN: list[tuple[dict[str, tuple[int, ...]], str]] = [
    ({"taps": (4, 3)}, r"it got \(2, 3, 10\) and \(4, 3\)"),
    ({"taps": (3, 0)}, r"it got \(2, 3, 10\) and \(3, 0\)"),
    ({"taps": (3,)}, r"it got \(2, 3, 10\) and \(3,\)"),
    ({"u": (3, 10)}, r"it got \(3, 10\) and \(3, 4\)"),
    ({"bias": (2,)}, r"bias has shape \(2,\); expected \(3,\)"),
    ({"skip": (3, 1)}, r"skip has shape \(3, 1\); expected \(3,\)"),
    ({"pre_gate": (2, 3, 9)}, r"pre_gate has shape \(2, 3, 9\); expected \(2, 3, 10\)"),
    ({"post_gate": (1, 3, 10)}, r"post_gate has shape \(1, 3, 10\); expected \(2, 3, 10\)"),
]
