"""Short and medium causal filters of channels, with gates, a skip term and what continues them."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.dispatch import Backend, dispatch, register
from genomix_kernels.triton_support import why_unavailable

TapOrder = Literal["convolution", "cross_correlation"]


def causal_fir(
    u: Float[Tensor, "B D L"],
    taps: Float[Tensor, "G K"],
    bias: Float[Tensor, " D"] | None = None,
    *,
    skip: Float[Tensor, " D"] | None = None,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
    tap_order: TapOrder = "convolution",
    backend: Backend = "auto",
) -> Float[Tensor, "B D L"]:
    """Causal filter of each channel, ``y[t] = post[t] (sum_i h[i] m[t-i] + skip m[t] + bias)``, ``m = pre u``.

    Args:
        u: Input signal, ``(batch, channel, seqlen)``; any strides. Inputs before 0 are 0.
        taps: Filters, ``(group, filter_len)``. ``filter_len`` may be longer than ``seqlen``. Each filter serves
            ``D / G`` neighbouring channels; as many filters as channels is the plain case.
        bias: Added to every position.
        skip: Gain on the unfiltered input of each channel.
        pre_gate: Multiplies the input; of its shape.
        post_gate: Multiplies the output.
        tap_order: ``"convolution"``: ``taps[:, i]`` weighs the input ``i`` steps back. ``"cross_correlation"``: the
            last column weighs the current input, as in a `Conv1d` weight.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        Same shape and dtype as ``u``; the sum is taken in fp32 (in fp64 when an input is fp64). Fast backends round
        the gated input, and taps where they are many, to the dtype of ``u``.

    Raises:
        ValueError: if shapes do not fit together.
    """
    _check(u, taps, bias, skip, pre_gate, post_gate)
    y: Tensor = dispatch("causal_fir", backend, u, taps, bias, skip, pre_gate, post_gate, tap_order, None)
    return y


def causal_fir_extend(
    u: Float[Tensor, "B D L"],
    taps: Float[Tensor, "G K"],
    tail: Float[Tensor, "B D T"],
    bias: Float[Tensor, " D"] | None = None,
    *,
    skip: Float[Tensor, " D"] | None = None,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
    tap_order: TapOrder = "convolution",
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "B D L"], Float[Tensor, "B D T"]]:
    """`causal_fir` of more inputs, and the tail after them: any chunking gives what the whole sequence would.

    Args:
        u: The new inputs.
        taps: As in `causal_fir`.
        tail: The last ``K - 1`` (gated) inputs before these, as an earlier call returned them; zeros at the beginning.
        bias: As in `causal_fir`.
        skip: Likewise.
        pre_gate: Likewise.
        post_gate: Likewise.
        tap_order: Likewise.
        backend: Likewise.
    """
    _check(u, taps, bias, skip, pre_gate, post_gate)
    expected = (*u.shape[:2], taps.shape[1] - 1)
    if tail.shape != expected:
        raise ValueError(f"tail has shape {tuple(tail.shape)}; expected {expected}: the last K - 1 inputs.")
    y: Tensor = dispatch("causal_fir", backend, u, taps, bias, skip, pre_gate, post_gate, tap_order, tail)
    return y, tail_after(tail, u if pre_gate is None else _last(u, tail) * _last(pre_gate, tail))


def tail_after(tail: Float[Tensor, "B D T"], new: Float[Tensor, "B D L"]) -> Float[Tensor, "B D T"]:
    """Return the last T of ``tail`` followed by ``new``, in the dtype of ``new``; memory of its own."""
    length = tail.shape[-1]
    if new.shape[-1] >= length:
        return new[..., new.shape[-1] - length :].clone()
    return torch.cat([tail[..., new.shape[-1] :].to(new.dtype), new], dim=-1)


def _last(signal: Tensor, tail: Tensor) -> Tensor:
    return signal[..., max(signal.shape[-1] - tail.shape[-1], 0) :]


def _check(
    u: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    skip: Tensor | None,
    pre_gate: Tensor | None,
    post_gate: Tensor | None,
) -> None:
    fits = u.ndim == 3 and taps.ndim == 2 and taps.shape[0] >= 1 and taps.shape[1] >= 1
    if not fits or u.shape[1] % taps.shape[0]:
        raise ValueError(
            "causal_fir takes u (B, D, L) and taps (G, K >= 1), G a divisor of D; "
            f"it got {tuple(u.shape)} and {tuple(taps.shape)}."
        )
    for name, gain in (("bias", bias), ("skip", skip)):
        if gain is not None and gain.shape != u.shape[1:2]:
            raise ValueError(f"{name} has shape {tuple(gain.shape)}; expected ({u.shape[1]},).")
    for name, gate in (("pre_gate", pre_gate), ("post_gate", post_gate)):
        if gate is not None and gate.shape != u.shape:
            raise ValueError(f"{name} has shape {tuple(gate.shape)}; expected {tuple(u.shape)}.")


def _why_not_torch_conv(u: Tensor, taps: Tensor, *_rest: object) -> str | None:
    from genomix_kernels.causal_fir.torch_conv import why_not

    return why_not(u, taps)


def _why_not_torch_blocked(u: Tensor, taps: Tensor, *_rest: object) -> str | None:
    from genomix_kernels.causal_fir.torch_blocked import why_not

    return why_not(u, taps)


def _why_not_triton(*arguments: Any) -> str | None:
    from genomix_kernels.causal_fir.triton_backend import why_not

    return why_not(*arguments)


def _load_reference() -> Callable[..., Tensor]:
    from genomix_kernels.causal_fir.gated import gated
    from genomix_kernels.causal_fir.reference import causal_fir_reference

    return gated(causal_fir_reference, is_precise=True)


def _load_torch_conv() -> Callable[..., Tensor]:
    from genomix_kernels.causal_fir.gated import gated
    from genomix_kernels.causal_fir.torch_conv import causal_fir_torch_conv

    return gated(causal_fir_torch_conv)


def _load_torch_blocked() -> Callable[..., Tensor]:
    from genomix_kernels.causal_fir.gated import gated
    from genomix_kernels.causal_fir.torch_blocked import causal_fir_torch_blocked

    return gated(causal_fir_torch_blocked)


def _load_triton() -> Callable[..., Tensor]:
    from genomix_kernels.causal_fir.triton_backend import causal_fir_triton

    return causal_fir_triton


register(
    "causal_fir", "triton", priority=30, load=_load_triton, supports=_why_not_triton,
    why_unavailable=why_unavailable,
)  # fmt: skip
register(
    "causal_fir", "torch_blocked", priority=20, load=_load_torch_blocked, supports=_why_not_torch_blocked
)
register("causal_fir", "torch_conv", priority=10, load=_load_torch_conv, supports=_why_not_torch_conv)
register("causal_fir", "reference", priority=0, load=_load_reference)
