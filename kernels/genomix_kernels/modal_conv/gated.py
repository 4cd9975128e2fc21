"""Gates around `modal_conv` for backends that know only the filter."""

from collections.abc import Callable

import torch
from torch import Tensor

Filter = Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]


def gated(plain: Filter, *, is_precise: bool = False) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return `modal_conv` with all its arguments, made of a filter ``(u, log_poles, residues, skip, state)``.

    Args:
        plain: The filter.
        is_precise: Take the products with the gates in fp32 (fp64) too, and round once.
    """

    def modal_conv_gated(
        u: Tensor,
        log_poles: Tensor,
        residues: Tensor,
        skip: Tensor | None = None,
        state: Tensor | None = None,
        pre_gate: Tensor | None = None,
        post_gate: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        dtype = u.dtype
        if is_precise and (pre_gate is not None or post_gate is not None):
            u = u.to(torch.promote_types(dtype, torch.float32))
        m = u if pre_gate is None else u * pre_gate.to(u.dtype)
        y, final = plain(m, log_poles, residues, skip, state)
        if post_gate is not None:
            y = y * post_gate.to(y.dtype)
        return y.to(dtype), final

    return modal_conv_gated
