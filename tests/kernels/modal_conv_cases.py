"""Inputs and comparisons for the tests of `modal_conv`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import implementations
from genomix_kernels.modal_conv import modal_conv
from genomix_kernels.testing import assert_close_to_reference, check_against_reference

EVERY = [implementation.name for implementation in implementations("modal_conv")]


BACKENDS = [name for name in EVERY if name != "torch_step"]


"""Those that take any length; the backend for single steps has a test of its own."""


TORCH = ["torch_chunked", "reference"]


FAST = [name for name in BACKENDS if name != "reference"]


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


LENGTHS = [1, 2, 63, 64, 65, 127, 1000]


LONG_LENGTHS = [4095, 4096, 4097, 8192, 8193]


POLES = {"slow": 1e-6, "initial": 2e-2, "mixed": None, "fast": 5.0}


N_MODES = 4


CHANNELS = 35


ORDER = ("u", "log_poles", "residues", "skip", "state", "pre_gate", "post_gate")


def make_inputs(
    seqlen: int,
    poles: float | None,
    dtype: torch.dtype,
    device: str,
    *,
    batch: int = 3,
    channels: int = 3,
    n_modes: int = N_MODES,
    has_gates: bool = False,
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seqlen)
    shape = (channels, n_modes)
    magnitude = (
        torch.full(shape, poles) if poles else torch.logspace(-6, 0.7, channels * n_modes).reshape(shape)
    )
    signal = (batch, channels, seqlen)
    inputs = {
        "u": torch.randn(signal, generator=generator),
        "log_poles": -magnitude * (1 + 0.1 * torch.rand(shape, generator=generator)),
        "residues": torch.randn(shape, generator=generator),
        "skip": torch.randn(channels, generator=generator),
        "state": torch.randn(batch, *shape, generator=generator),
    }
    if has_gates:
        inputs |= {name: torch.randn(signal, generator=generator) for name in ("pre_gate", "post_gate")}
    precise = torch.promote_types(dtype, torch.float32)
    signals = ("u", "pre_gate", "post_gate")
    return {name: x.to(dtype if name in signals else precise).to(device) for name, x in inputs.items()}


def skip_unless_served(backend: str, **arguments: Any) -> None:
    """Skip, with the backend's own reason, what it says that it cannot serve."""
    chosen = next(each for each in implementations("modal_conv") if each.name == backend)
    reason = chosen.supports(*(arguments.get(name) for name in ORDER))
    if reason is not None:
        pytest.skip(f"{backend}: {reason}")


def both(
    function: Callable[..., tuple[Tensor, Tensor]], dtype: torch.dtype = torch.float64
) -> Callable[..., Tensor]:
    """Return a function of keywords that puts the final state behind the output, whose gradient has ``dtype``."""

    def joined(**inputs: Tensor) -> Tensor:
        y, state = function(**inputs)
        # the state makes both fp32 or more; kernel and reference are to get the same gradient of y
        y.register_hook(lambda gradient: gradient.to(dtype).to(gradient.dtype))  # type: ignore[no-untyped-call]
        if state.is_complex():
            state = torch.cat([state.real, state.imag], dim=-1)
        return torch.cat([y, state], dim=-1)

    return joined


def check(
    function: Callable[..., tuple[Tensor, Tensor]], inputs: dict[str, Tensor], exact: str = "reference"
) -> None:
    """Compare output, final state and every gradient, also those through the final state, with float64."""
    dtype = inputs["u"].dtype
    kernel, reference = both(function, dtype), both(partial(modal_conv, backend=exact), dtype)
    check_against_reference(kernel, reference, inputs, dtype=dtype)


def check_on_gpu(inputs: dict[str, Tensor], exact: str = "reference") -> None:
    """Compare the Triton backend; in fp32, whose gradients it leaves to others, output and state alone."""
    if inputs["u"].dtype is not torch.float32:
        check(partial(modal_conv, backend="triton"), inputs, exact)
        return
    y, state = modal_conv(**inputs, backend="triton")
    doubled = {name: x.double() for name, x in inputs.items()}
    expected, expected_state = modal_conv(**doubled, backend=exact)
    assert_close_to_reference(y, expected)
    assert_close_to_reference(state, expected_state, name="state")


SERVED = [
    ("torch_chunked", torch.float64, False),
    ("torch_chunked", torch.float64, True),
    ("triton", torch.float32, False),
    ("triton", torch.float32, True),
    ("triton", torch.bfloat16, True),
    ("triton", torch.float16, True),
]


def check_pieces(
    function: Callable[..., tuple[Tensor, Tensor]],
    inputs: dict[str, Tensor],
    lengths: list[int],
    expected: Tensor,
    expected_state: Tensor,
) -> None:
    rest = dict(inputs)
    state = rest.pop("state")
    signals = {name: torch.split(rest.pop(name), lengths, dim=-1) for name in ("u", "pre_gate", "post_gate")}
    pieces = []
    for i in range(len(lengths)):
        given = state.clone()
        y, after = function(**{name: parts[i] for name, parts in signals.items()}, **rest, state=state)
        assert torch.equal(state, given)
        state = after
        pieces.append(y)
    assert_close_to_reference(torch.cat(pieces, dim=-1), expected)
    assert_close_to_reference(state, expected_state, dtype=inputs["u"].dtype, name="state")


def check_strides(function: Callable[..., tuple[Tensor, Tensor]], dtype: torch.dtype, device: str) -> None:
    """Views of larger tensors, features last, expanded; gradients with the features last."""
    inputs = make_inputs(70, None, dtype, device, has_gates=True)

    def of_views(
        function: Callable[..., tuple[Tensor, Tensor]],
        u: Tensor,
        log_poles: Tensor,
        pre_gate: Tensor,
        post_gate: Tensor,
        **rest: Tensor,
    ) -> tuple[Tensor, Tensor]:
        u = u.transpose(1, 2).contiguous().transpose(1, 2)
        log_poles = log_poles.t().contiguous().t()
        pre_gate = torch.stack([pre_gate, pre_gate], dim=2)[:, :, 1]
        post_gate = torch.nn.functional.pad(post_gate, (3, 5))[..., 3:-5][:1].expand(3, -1, -1)
        y, state = function(u=u, log_poles=log_poles, pre_gate=pre_gate, post_gate=post_gate, **rest)
        return y.transpose(1, 2).contiguous().transpose(1, 2), state

    kernel, reference = (
        both(partial(of_views, each), dtype) for each in (function, partial(modal_conv, backend="reference"))
    )
    check_against_reference(kernel, reference, inputs, dtype=dtype)


def share_rows(monkeypatch: pytest.MonkeyPatch, tiles: int | None) -> None:
    """Let a row be walked by as many programs as there are such numbers of tiles in it; by one if None."""
    from genomix_kernels.hyena_gated import modal_launch

    monkeypatch.setattr(modal_launch, "FEW_ROWS", 0 if tiles is None else 256)
    monkeypatch.setattr(modal_launch, "LEAST_TILES", tiles or 1)
