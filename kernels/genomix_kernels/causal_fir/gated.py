"""Gates, skip term, tap order and tail around a plain filter, for backends that know only the filter."""

from collections.abc import Callable

import torch
from torch import Tensor

Filter = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def gated(plain: Filter, *, is_precise: bool = False) -> Callable[..., Tensor]:
    """Return `causal_fir` with all its arguments, made of a filter ``(u, taps, bias)`` with taps in convolution order.

    Args:
        plain: The filter.
        is_precise: Take the products around the filter in fp32 (fp64) too, and round once.
    """

    def causal_fir_gated(
        u: Tensor,
        taps: Tensor,
        bias: Tensor | None = None,
        skip: Tensor | None = None,
        pre_gate: Tensor | None = None,
        post_gate: Tensor | None = None,
        tap_order: str = "convolution",
        tail: Tensor | None = None,
    ) -> Tensor:
        dtype = u.dtype
        is_plain = pre_gate is None and post_gate is None and skip is None
        if is_precise and not is_plain:
            for tensor in (torch.empty((), dtype=torch.float32), taps, skip, pre_gate, post_gate):
                if tensor is not None:
                    u = u.to(torch.promote_types(u.dtype, tensor.dtype))
        m = u if pre_gate is None else u * pre_gate.to(u.dtype)
        h = taps if tap_order == "convolution" else taps.flip(-1)
        if tail is None:
            y = plain(m, h, bias)
        else:
            y = plain(torch.cat([tail.to(m.dtype), m], dim=-1), h, bias)[..., tail.shape[-1] :]
        if skip is not None:
            y = torch.addcmul(y, skip.to(y.dtype)[:, None], m)
        if post_gate is not None:
            y = y * post_gate.to(y.dtype)
        return y.to(dtype)

    return causal_fir_gated
