"""Convolution with a filter that is a sum of exponentials (modes), with the state that continues it."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float, Num
from torch import Tensor

from genomix_kernels.cuda_support import why_unavailable as why_no_cuda
from genomix_kernels.dispatch import Backend, choose, register
from genomix_kernels.triton_support import why_unavailable


def modal_conv(
    u: Float[Tensor, "B D L"],
    log_poles: Num[Tensor, "D N"],
    residues: Num[Tensor, "D N"],
    skip: Float[Tensor, " D"] | None = None,
    *,
    state: Num[Tensor, "B D N"] | None = None,
    pre_gate: Float[Tensor, "B D L"] | None = None,
    post_gate: Float[Tensor, "B D L"] | None = None,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "B D L"], Num[Tensor, "B D N"]]:
    """Causal convolution with ``h[t] = sum_n residues[n] exp(log_poles[n] t)``, continued from a state.

    As a recurrence, with ``m = pre_gate u``: ``s_n[t] = exp(log_poles[n]) s_n[t-1] + m[t]``,
    ``y[t] = post_gate[t] (sum_n residues[n] s_n[t] + skip m[t])``. Feeding a sequence in pieces, each from the state
    that the one before returned, gives what the whole would.

    Args:
        u: Input, ``(batch, channel, seqlen >= 1)``; any float type, any strides.
        log_poles: Per step, ``(channel, mode)``; real and negative, or complex with a negative real part
            (StripedHyena 1), and then the real part of the sum counts.
        residues: Weight of each mode, ``(channel, mode)``; complex where the poles are.
        skip: Gain on the unfiltered input; none by default.
        state: ``s`` after the inputs before these; zeros by default.
        pre_gate: Multiplies the input; of its shape.
        post_gate: Multiplies the output.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        ``y`` of the shape and dtype of ``u``, and the state after the last input in fp32 (complex64 for complex poles).
        Poles, exponentials, sums and states are held in fp32 (fp64 when ``u`` or the poles are).

    Raises:
        ValueError: if shapes do not fit together.

    Source: the Hyena-LI filter of StripedHyena 2, Ku et al. 2025, arXiv:2503.01868.
    """
    _check(u, log_poles, residues, skip, state, pre_gate, post_gate)
    arguments = (u, log_poles, residues, skip, state, pre_gate, post_gate)
    serving = choose("modal_conv", backend, *arguments)
    y, final = serving.load()(*arguments)
    return y, final


def _check(
    u: Tensor,
    log_poles: Tensor,
    residues: Tensor,
    skip: Tensor | None,
    state: Tensor | None,
    pre_gate: Tensor | None,
    post_gate: Tensor | None,
) -> None:
    if u.ndim != 3 or u.shape[2] < 1 or log_poles.ndim != 2 or log_poles.shape != residues.shape:
        raise ValueError(
            "modal_conv takes u (B, D, L >= 1) and log_poles and residues (D, N) of one shape; "
            f"it got {tuple(u.shape)}, {tuple(log_poles.shape)} and {tuple(residues.shape)}."
        )
    if u.shape[1] != log_poles.shape[0]:
        raise ValueError(f"channels differ: u has {u.shape[1]}, log_poles has {log_poles.shape[0]}.")
    if skip is not None and skip.shape != log_poles.shape[:1]:
        raise ValueError(f"skip has shape {tuple(skip.shape)}; expected ({log_poles.shape[0]},).")
    if state is not None and state.shape != (u.shape[0], *log_poles.shape):
        raise ValueError(f"state has shape {tuple(state.shape)}; expected {(u.shape[0], *log_poles.shape)}.")
    for name, gate in (("pre_gate", pre_gate), ("post_gate", post_gate)):
        if gate is not None and gate.shape != u.shape:
            raise ValueError(f"{name} has shape {tuple(gate.shape)}; expected {tuple(u.shape)}.")


def _load_reference() -> Callable[..., tuple[Tensor, Tensor]]:
    from genomix_kernels.modal_conv.gated import gated
    from genomix_kernels.modal_conv.reference import modal_conv_reference

    return gated(modal_conv_reference, is_precise=True)


def _load_chunked() -> Callable[..., tuple[Tensor, Tensor]]:
    from genomix_kernels.modal_conv.chunked import modal_conv_chunked
    from genomix_kernels.modal_conv.gated import gated

    return gated(modal_conv_chunked)


def _load_triton() -> Callable[..., tuple[Tensor, Tensor]]:
    from genomix_kernels.modal_conv.triton_backend import modal_conv_triton

    return modal_conv_triton


def _why_not_step(u: Tensor, *_rest: object) -> str | None:
    return None if u.shape[-1] == 1 else f"{u.shape[-1]} tokens are more than one step"


def _why_not_cuda(*arguments: Any) -> str | None:
    from genomix_kernels.modal_conv.cuda_backend import why_not

    return why_not(*arguments)


def _load_cuda() -> Callable[..., Any]:
    from genomix_kernels.modal_conv.cuda_backend import modal_conv_cuda

    return modal_conv_cuda


def _why_not_triton(*arguments: Any) -> str | None:
    from genomix_kernels.modal_conv.triton_backend import why_not

    return why_not(*arguments)


# the reference is the recurrence itself: for one token nothing can be saved
register("modal_conv", "torch_step", priority=40, load=_load_reference, supports=_why_not_step)
register(
    "modal_conv", "cuda", priority=40, load=_load_cuda, supports=_why_not_cuda, why_unavailable=why_no_cuda,
)  # fmt: skip
register(
    "modal_conv", "triton", priority=30, load=_load_triton, supports=_why_not_triton,
    why_unavailable=why_unavailable,
)  # fmt: skip
register("modal_conv", "torch_chunked", priority=10, load=_load_chunked)
register("modal_conv", "reference", priority=0, load=_load_reference)
