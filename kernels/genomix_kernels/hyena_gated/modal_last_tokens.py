"""A state and the few tokens after it: ``exp(a n) before + sum_t exp(a (n - 1 - t)) m[t]``, a program a channel.

The input ``m`` of the filter is made here: two streams, each through the featurizer, multiplied. Each sequence
is summed by programs of its own, so it gives the same bits alone and in any batch.
"""

# Triton's types are no types of Python's
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.hyena_gated.filters import Modes, Taps
from genomix_kernels.triton_support import launched_on

TOKENS_AT_ONCE = 64


def add_last_tokens(
    before: Float[Tensor, "B D N"],
    k: Float[Tensor, "B D L"],
    v: Float[Tensor, "B D L"] | None,
    featurizer: Taps | None,
    inner: Modes,
    tail: Float[Tensor, "B C T"] | None,
    first: int,
    is_interleaved: bool,
) -> Float[Tensor, "B D N"]:
    """Return the state after the last token, in fp32; arguments as of `modal_final.complete_state`."""
    batch, channels, seqlen = k.shape
    n_modes = inner.log_poles.shape[1]
    before, log_poles = before.contiguous(), inner.log_poles.float().contiguous()
    k = k if k.stride(-1) == 1 else k.contiguous()
    v = v if v is None or v.stride(-1) == 1 else v.contiguous()
    tail = None if tail is None else tail.contiguous()
    taps = None if featurizer is None else featurizer.h.float().contiguous()
    after = torch.empty_like(before)
    gate = k if v is None else v
    with launched_on(k):
        add_last_tokens_kernel[(batch * channels,)](
            k, gate, log_poles if taps is None else taps, before if tail is None else tail, log_poles, before, after,
            channels, seqlen, first, *k.stride()[:2], *gate.stride()[:2],
            N_MODES=n_modes, N=triton.next_power_of_2(n_modes), F=1 if taps is None else taps.shape[1],
            IS_REVERSED=featurizer is not None and featurizer.order != "convolution",
            HAS_FEATURIZER=taps is not None, HAS_GATE=v is not None, HAS_TAIL=tail is not None,
            IS_INTERLEAVED=is_interleaved, T=TOKENS_AT_ONCE, num_warps=1,
        )  # fmt: skip
    return after


@triton.jit
def featurized_at(
    x_ptr, taps_ptr, tail_ptr, at, mask,
    F: tl.constexpr, IS_REVERSED: tl.constexpr, HAS_FEATURIZER: tl.constexpr, HAS_TAIL: tl.constexpr,
):  # fmt: skip
    """One stream at some tokens, after the featurizer."""
    y = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if HAS_FEATURIZER:
        y *= tl.load(taps_ptr + (F - 1 if IS_REVERSED else 0))
        for lag in tl.static_range(1, F):
            past = at - lag
            x = tl.load(x_ptr + past, mask=mask & (past >= 0), other=0.0).to(tl.float32)
            if HAS_TAIL:
                older = tl.load(tail_ptr + (F - 1) + past, mask=mask & (past < 0), other=0.0).to(tl.float32)
                x = tl.where(past >= 0, x, older)
            y += x * tl.load(taps_ptr + (F - 1 - lag if IS_REVERSED else lag))
    return y


@triton.jit(do_not_specialize=["first"])
def add_last_tokens_kernel(
    k_ptr, v_ptr, taps_ptr, tail_ptr, a_ptr, before_ptr, after_ptr, channels, seqlen, first,
    k_batch, k_channel, v_batch, v_channel,
    N_MODES: tl.constexpr, N: tl.constexpr, F: tl.constexpr, IS_REVERSED: tl.constexpr, HAS_FEATURIZER: tl.constexpr,
    HAS_GATE: tl.constexpr, HAS_TAIL: tl.constexpr, IS_INTERLEAVED: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Add the last tokens of one channel of one sequence to its state."""
    row = tl.program_id(0)
    b = (row // channels).to(tl.int64)
    d = row % channels
    n = tl.arange(0, N)
    is_mode = n < N_MODES
    a = tl.load(a_ptr + d * N_MODES + n, mask=is_mode, other=0.0)
    state = tl.load(before_ptr + row.to(tl.int64) * N_MODES + n, mask=is_mode, other=0.0)
    state *= tl.exp(a * (seqlen - first))
    # k and v are the second and third of three streams
    k_row = d * 3 + 1 if IS_INTERLEAVED else channels + d
    v_row = d * 3 + 2 if IS_INTERLEAVED else 2 * channels + d
    k_tail = tail_ptr + (b * 3 * channels + k_row) * (F - 1)
    v_tail = tail_ptr + (b * 3 * channels + v_row) * (F - 1)
    k_ptr += b * k_batch + d.to(tl.int64) * k_channel
    v_ptr += b * v_batch + d.to(tl.int64) * v_channel
    for begin in range(first, seqlen, T):
        at = begin + tl.arange(0, T)
        is_token = at < seqlen
        m = featurized_at(
            k_ptr, taps_ptr + k_row * F, k_tail, at, is_token, F, IS_REVERSED, HAS_FEATURIZER, HAS_TAIL
        )
        if HAS_GATE:
            m *= featurized_at(
                v_ptr, taps_ptr + v_row * F, v_tail, at, is_token, F, IS_REVERSED, HAS_FEATURIZER, HAS_TAIL
            )
        m = m.to(k_ptr.dtype.element_ty).to(tl.float32)  # as the filter is given it
        # of a growing mode the power would overflow where there is no token
        powers = tl.exp(a[:, None] * tl.maximum(seqlen - 1 - at, 0)[None, :])
        state += tl.sum(powers * tl.where(is_token, m, 0.0)[None, :], axis=1)
    tl.store(after_ptr + row.to(tl.int64) * N_MODES + n, state, mask=is_mode)
