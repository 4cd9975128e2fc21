"""The state after a sequence that ends inside a tile: the last, incomplete tile is added to the state before it.

A kernel for whole tiles would have to shift exponentials by how far the tile reaches beyond the sequence, and divide;
the few tokens that remain are summed here from the last one backwards instead.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from genomix_kernels.hyena_gated.filters import Modes, Taps
from genomix_kernels.hyena_gated.reference import fir_reference
from genomix_kernels.modal_conv.chunked import modal_conv_chunked
from genomix_kernels.triton_support import why_not_triton


def complete_state(
    before: Float[Tensor, "B D N"],
    k: Float[Tensor, "B D L"],
    v: Float[Tensor, "B D L"] | None,
    featurizer: Taps | None,
    inner: Modes,
    tail: Float[Tensor, "B C T"] | None,
    first: int,
    is_interleaved: bool,
) -> Float[Tensor, "B D N"]:
    """Return the state after the last token.

    Args:
        before: The state before token ``first``.
        k: Input.
        v: What multiplies it, or None.
        featurizer: Of all three streams; applied to k and v, which are the second and third.
        inner: The filter.
        tail: Inputs of the three streams before token 0, or None for zeros.
        first: Token from which on the inputs are still to be added.
        is_interleaved: How channels of the streams stand in the featurizer and the tail.
    """
    if why_not_triton(k) is None:
        from genomix_kernels.hyena_gated.modal_last_tokens import add_last_tokens

        return add_last_tokens(before, k, v, featurizer, inner, tail, first, is_interleaved)
    m = _gated(k, v, featurizer, tail, first, is_interleaved)
    # one sequence at a time: a matrix product may sum in another order for another batch, and all of this is in fp32
    each = [
        modal_conv_chunked(own, inner.log_poles, inner.residues, None, of_own)[1]
        for own, of_own in zip(torch.split(m, 1), torch.split(before, 1), strict=True)
    ]
    return torch.cat(each).contiguous()


def _gated(
    k: Float[Tensor, "B D L"],
    v: Float[Tensor, "B D L"] | None,
    featurizer: Taps | None,
    tail: Float[Tensor, "B C T"] | None,
    first: int,
    is_interleaved: bool,
) -> Float[Tensor, "B D M"]:
    """Return what the filter is given from token ``first`` on, rounded as it is; arguments as of `complete_state`."""
    signals = []
    for stream, x in enumerate((k, v), start=1):
        if x is None:
            continue
        if featurizer is None:
            signals.append(x[..., first:].float())
            continue
        reach = featurizer.h.shape[1] - 1
        own = _rows(featurizer.h, stream, is_interleaved)
        start = max(first - reach, 0)
        past = x[..., start:first].float()
        if first < reach:  # the filter reaches behind token 0
            older = past.new_zeros(*x.shape[:2], reach)
            if tail is not None:
                older = _rows(tail, stream, is_interleaved, dim=1).float()
            past = torch.cat([older, past], dim=-1)[..., past.shape[-1] :]
        filtered, _ = fir_reference(x[..., first:].float(), Taps(own, None, featurizer.order), past)
        signals.append(filtered)
    m = signals[0] if len(signals) == 1 else signals[0] * signals[1]
    return m.to(k.dtype).float()


def _rows(x: Tensor, stream: int, is_interleaved: bool, dim: int = 0) -> Tensor:
    """Return the rows of one of three streams."""
    rows = (
        torch.unflatten(x, dim, (-1, 3))
        if is_interleaved
        else torch.unflatten(x, dim, (3, -1)).transpose(dim, dim + 1)
    )
    return rows.select(dim + 1, stream)
