"""`modal_conv` in plain torch as matrix products over chunks of the sequence.

A channel is viewed as ``(chunks, C)``. Within a chunk the filter is a Toeplitz matrix ``T[j, i] = h[i - j]``; what came
before enters through the state at the chunk's start: ``Y = U T + S E`` with ``E[n, i] = R_n exp(a_n (i + 1))``. States
follow ``S_{c+1} = exp(a C) S_c + U_c V`` with ``V[j, n] = exp(a_n (C - 1 - j))``; that scan is done by doubling, with
powers of ``exp(a C)`` that never exceed one, so that fast modes underflow to zero and cannot overflow.
"""

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional as F

from genomix_kernels.each_alone import products_alone

CHUNK = 64
"""Inputs a chunk. The Toeplitz products cost 2 CHUNK flop an element, the states 4 N / CHUNK of memory each."""


def modal_conv_chunked(
    u: Float[Tensor, "B D L"],
    log_poles: Num[Tensor, "D N"],
    residues: Num[Tensor, "D N"],
    skip: Float[Tensor, " D"] | None = None,
    state: Num[Tensor, "B D N"] | None = None,
) -> tuple[Float[Tensor, "B D L"], Num[Tensor, "B D N"]]:
    """As `modal_conv`; differentiable in every tensor."""
    batch, _, seqlen = u.shape
    dtype = torch.promote_types(torch.promote_types(u.dtype, log_poles.dtype), torch.float32)
    a, weights = log_poles.to(dtype), residues.to(dtype)
    chunk = min(CHUNK, seqlen)
    whole = seqlen - seqlen % chunk
    with torch.autocast(device_type=u.device.type, enabled=False):
        lags = torch.arange(chunk + 1, device=u.device, dtype=dtype.to_real())
        modes = torch.exp(a[..., None] * lags)  # (D, N, C + 1): exp(a lag)
        start = u.new_zeros(batch, *a.shape, dtype=dtype) if state is None else state.to(dtype)
        y, s = _whole_chunks(u[..., :whole].to(dtype), a, weights, modes, start, chunk)
        if whole < seqlen:
            rest = seqlen - whole
            tail, s = _whole_chunks(u[..., whole:].to(dtype), a, weights, modes[..., : rest + 1], s, rest)
            y = torch.cat([y, tail], dim=-1)
        if y.is_complex():
            y = y.real
        if skip is not None:
            y = torch.addcmul(y, skip.to(y.dtype)[:, None], u.to(y.dtype))
    return y.to(u.dtype), s


def _whole_chunks(
    u: Num[Tensor, "B D L"],
    a: Num[Tensor, "D N"],
    weights: Num[Tensor, "D N"],
    modes: Num[Tensor, "D N T"],
    start: Num[Tensor, "B D N"],
    chunk: int,
) -> tuple[Num[Tensor, "B D L"], Num[Tensor, "B D N"]]:
    batch, channels, seqlen = u.shape
    n_chunks = seqlen // chunk
    rows = u.reshape(batch, channels, n_chunks, chunk)
    h = torch.einsum("dn,dnt->dt", weights, modes[..., :chunk])
    reach_out = weights[..., None] * modes[..., 1:]  # E: (D, N, C)
    remember = modes[..., :chunk].flip(-1).transpose(1, 2)  # V: (D, C, N)
    states, final = _scan(products_alone(rows, remember), a * chunk, start)
    y = products_alone(rows, _toeplitz(h)) + products_alone(states, reach_out)
    return y.reshape(batch, channels, seqlen), final


def _toeplitz(h: Num[Tensor, "D C"]) -> Num[Tensor, "D C C"]:
    """Return ``T[d, j, i] = h[d, i - j]``, zero below the diagonal."""
    chunk = h.shape[1]
    padded = F.pad(h, (chunk - 1, 0))  # windows of it, read backwards, are the rows of T
    return padded.unfold(-1, chunk, 1).flip(1)


def _scan(
    summaries: Num[Tensor, "B D c N"], log_decay: Num[Tensor, "D N"], start: Num[Tensor, "B D N"]
) -> tuple[Num[Tensor, "B D c N"], Num[Tensor, "B D N"]]:
    """Return the state before each chunk, and the one after the last: ``S_{c+1} = exp(log_decay) S_c + summary_c``."""
    states = torch.cat(
        [start[:, :, None], summaries], dim=2
    )  # state after chunk c - 1, so far without its past
    n_states = states.shape[2]
    reach = 1
    while reach < n_states:
        decay = torch.exp(log_decay * reach)[:, None]
        states = torch.cat(
            [states[:, :, :reach], states[:, :, reach:] + decay * states[:, :, :-reach]], dim=2
        )
        reach *= 2
    return states[:, :, :-1], states[:, :, -1]
