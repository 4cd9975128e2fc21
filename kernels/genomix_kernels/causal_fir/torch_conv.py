"""`causal_fir` as PyTorch's depthwise convolution, several times faster than the sum of shifted copies."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def causal_fir_torch_conv(
    u: Float[Tensor, "B D L"], taps: Float[Tensor, "G K"], bias: Float[Tensor, " D"] | None = None
) -> Float[Tensor, "B D L"]:
    """As `causal_fir`; taps and bias are rounded to the dtype of ``u``."""
    each = taps.repeat_interleave(u.shape[1] // taps.shape[0], dim=0)
    weight = each.flip(-1)[:, None].to(u.dtype)
    # padded beforehand: with the convolution's own padding the backward pass is several times slower on a CPU
    padded = F.pad(u, (taps.shape[1] - 1, 0))
    with torch.autocast(device_type=u.device.type, enabled=False):
        return F.conv1d(padded, weight, None if bias is None else bias.to(u.dtype), groups=u.shape[1])


def why_not(u: Tensor, taps: Tensor) -> str | None:
    """Return why this backend cannot serve, or None."""
    if torch.promote_types(u.dtype, torch.float32) != torch.promote_types(taps.dtype, torch.float32):
        return f"input is {u.dtype} and taps are {taps.dtype}"
    if u.dtype is torch.float16 and u.device.type == "cpu":
        return "PyTorch's CPU convolution does not sum fp16 in fp32"
    return None
