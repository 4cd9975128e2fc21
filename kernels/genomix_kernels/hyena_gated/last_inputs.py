"""What a filter with taps remembers: its last inputs, ``m = k v`` of the featurized streams, a program a channel.

Computed anew from the last projections, since no kernel of the filter stores its inputs. Of a short sequence the
older ones are those of the state before it.
"""

# Triton's types are no types of Python's
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.hyena_gated.filters import HyenaState, Taps
from genomix_kernels.hyena_gated.modal_last_tokens import featurized_at
from genomix_kernels.triton_support import launched_on, with_unit_stride


def last_inputs(
    k: Float[Tensor, "B D L"],
    v: Float[Tensor, "B D L"],
    featurizer: Taps,
    length: int,
    state: HyenaState | None,
    is_interleaved: bool,
) -> Float[Tensor, "B D T"]:
    """Return the last ``length`` inputs of a filter, in the dtype of ``k``; no gradient is taken.

    Args:
        k: The second of the three streams, before the featurizer.
        v: The third.
        featurizer: Of all three.
        length: Inputs that are remembered, at least one.
        state: Before the first token; None: zeros.
        is_interleaved: How channels of the streams stand in the featurizer and the state.
    """
    batch, channels, seqlen = k.shape
    k, v = with_unit_stride(k), with_unit_stride(v)
    taps = featurizer.h.float().contiguous()
    tail, past = (None, None) if state is None else (state.featurizer.contiguous(), state.inner.contiguous())
    found = torch.empty(batch, channels, length, device=k.device, dtype=k.dtype)
    with launched_on(k):
        last_inputs_kernel[(batch * channels,)](
            k, v, taps, taps if tail is None else tail, taps if past is None else past, found,
            channels, seqlen, *k.stride()[:2], *v.stride()[:2],
            LENGTH=length, T=triton.next_power_of_2(length), F=taps.shape[1],
            IS_REVERSED=featurizer.order != "convolution", HAS_STATE=state is not None,
            IS_INTERLEAVED=is_interleaved, num_warps=1,
        )  # fmt: skip
    return found


@triton.jit
def last_inputs_kernel(
    k_ptr, v_ptr, taps_ptr, tail_ptr, past_ptr, found_ptr, channels, seqlen,
    k_batch, k_channel, v_batch, v_channel,
    LENGTH: tl.constexpr, T: tl.constexpr, F: tl.constexpr, IS_REVERSED: tl.constexpr, HAS_STATE: tl.constexpr,
    IS_INTERLEAVED: tl.constexpr,
):  # fmt: skip
    """Write the last inputs of one channel of one sequence."""
    row = tl.program_id(0)
    b = (row // channels).to(tl.int64)
    d = row % channels
    k_row = d * 3 + 1 if IS_INTERLEAVED else channels + d
    v_row = d * 3 + 2 if IS_INTERLEAVED else 2 * channels + d
    k_tail = tail_ptr + (b * 3 * channels + k_row) * (F - 1)
    v_tail = tail_ptr + (b * 3 * channels + v_row) * (F - 1)
    place = tl.arange(0, T)
    at = seqlen - LENGTH + place
    is_new = (place < LENGTH) & (at >= 0)
    k_ptr += b * k_batch + d.to(tl.int64) * k_channel
    v_ptr += b * v_batch + d.to(tl.int64) * v_channel
    m = featurized_at(k_ptr, taps_ptr + k_row * F, k_tail, at, is_new, F, IS_REVERSED, True, HAS_STATE)
    m *= featurized_at(v_ptr, taps_ptr + v_row * F, v_tail, at, is_new, F, IS_REVERSED, True, HAS_STATE)
    rows = row.to(tl.int64) * LENGTH
    if HAS_STATE:
        is_old = (place < LENGTH) & (at < 0)
        older = tl.load(past_ptr + rows + place + seqlen, mask=is_old, other=0.0).to(tl.float32)
        m = tl.where(at >= 0, m, older)
    tl.store(found_ptr + rows + place, m.to(found_ptr.dtype.element_ty), mask=place < LENGTH)
