"""`causal_fir` for filters of medium length as a matrix product for each block of the sequence.

With blocks of C inputs, ``Y_c = U_c T_0 + U_{c-1} T_1``, where ``T_0[j, i] = h[i - j]`` and
``T_1[j, i] = h[C + i - j]``. Output i of a block reaches back K - 1 inputs, so two blocks hold all that it needs
exactly if ``K <= C + 1``. Channels of a group share their matrix, which makes the product large:
``(B D/G blocks) x 2C x C`` for each of G groups.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from genomix_kernels.each_alone import products_alone

SHORTEST = 17
"""Filters with fewer taps are faster as a depthwise convolution."""


def causal_fir_torch_blocked(
    u: Float[Tensor, "B D L"], taps: Float[Tensor, "G K"], bias: Float[Tensor, " D"] | None = None
) -> Float[Tensor, "B D L"]:
    """As `causal_fir`; taps are rounded to the dtype of ``u``, products are summed in fp32 (fp64)."""
    batch, channels, seqlen = u.shape
    taps = taps[:, :seqlen]  # further back there is nothing
    n_groups, filter_len = taps.shape
    block = max(1, -(-(filter_len - 1) // 64)) * 64
    n_blocks = -(-seqlen // block)
    precise = torch.promote_types(u.dtype, torch.float32)  # so that the gradient of the taps is summed in it
    with torch.autocast(device_type=u.device.type, enabled=False):
        padded = F.pad(u, (block, n_blocks * block - seqlen))  # one block of zeros stands before the first
        # one product over both blocks: two would each be rounded
        pairs = padded.unfold(-1, 2 * block, block).reshape(batch, n_groups, -1, 2 * block)
        y = products_alone(pairs, _matrix(taps.to(precise), block).to(u.dtype))
    y = y.reshape(batch, channels, n_blocks * block)[..., :seqlen]
    return y if bias is None else y + bias.to(u.dtype)[:, None]


def _matrix(taps: Float[Tensor, "G K"], block: int) -> Float[Tensor, "G J C"]:
    """Return ``T_1`` above ``T_0``: ``T[j, i] = h[C + i - j]``, zero where the filter is not."""
    lags = F.pad(taps, (block, 2 * block - taps.shape[1]))  # lag -C .. 2C - 1
    windows = lags.unfold(-1, block, 1)  # (G, 2C + 1, C): window w holds lags w - C .. w - 1
    return windows[:, 1:].flip(1)


def why_not(u: Tensor, taps: Tensor) -> str | None:
    """Return why this backend cannot serve, or None."""
    if taps.shape[1] < SHORTEST:
        return f"{taps.shape[1]} taps are too few for matrix products to pay"
    if u.dtype is torch.float16 and u.device.type == "cpu":
        return "PyTorch's CPU matrix products do not sum fp16 in fp32"
    return None
