"""The equation of `rotary`, made literal."""

import torch
from jaxtyping import Float
from torch import Tensor


def rotary_reference(
    qkv: Float[Tensor, "B L H 3 d"], cos: Float[Tensor, "b L half"], sin: Float[Tensor, "b L half"]
) -> tuple[Float[Tensor, "B H L d"], Float[Tensor, "B H L d"], Float[Tensor, "B H L d"]]:
    """Two shifted halves, weighed by cosine and sine; values are a view."""
    q, k, v = (stream.transpose(1, 2) for stream in qkv.unbind(3))
    return _turned(q, cos[:, None], sin[:, None]), _turned(k, cos[:, None], sin[:, None]), v


def _turned(x: Float[Tensor, "B H L d"], cos: Tensor, sin: Tensor) -> Float[Tensor, "B H L d"]:
    precise = torch.promote_types(x.dtype, torch.float32)
    cos, sin = cos.to(precise), sin.to(precise)
    first, second = x.to(precise).chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
