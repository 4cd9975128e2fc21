"""Which of PyTorch's attention kernels serves; attention in two parts, to a past and among new tokens.

With ``Z = sum_j exp(s_j)`` over the scores of one part, ``o`` its normed output and ``lse = log Z``, attention to both
parts is ``(Z_1 o_1 + Z_2 o_2) / (Z_1 + Z_2)``, where ``Z_1 / (Z_1 + Z_2) = sigmoid(lse_1 - lse_2)``.
"""

import logging

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

logger = logging.getLogger(__name__)

FASTEST_FIRST = [
    SDPBackend.CUDNN_ATTENTION,  # on Hopper 1.7 times as fast as flash attention at long lengths
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
CUDNN_FROM = 2048
"""Queries from which cuDNN is asked first: it builds a plan for every new shape, and short inputs come in many."""

CUDNN_WIDEST_HEAD = 128
FLASH_WIDEST_HEAD = 256

_CUDNN_FAILURES: list[str] = []
"""What cuDNN said when it failed; it is not asked again by this process."""


def attend_causally(
    q: Float[Tensor, "B H L d"], k: Float[Tensor, "B H L d"], v: Float[Tensor, "B H L d"]
) -> Float[Tensor, "B H L d"]:
    """Return causal attention of a sequence to itself, on the fastest kernel that can serve."""
    if not _asks_cudnn(q):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    try:
        with sdpa_kernel(FASTEST_FIRST, set_priority=True):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    except RuntimeError as error:
        _give_up_cudnn(error)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def why_not_in_two_parts(q: Tensor, keys: Tensor, values: Tensor) -> str | None:
    """Return why `attend_to_past_and_self` cannot serve, or None."""
    if not q.is_cuda:
        return "the tensors are not on a CUDA device"
    if q.dtype not in (torch.float16, torch.bfloat16) or not q.dtype == keys.dtype == values.dtype:
        return "the kernels take half precision only"
    if torch.is_grad_enabled() and (q.requires_grad or keys.requires_grad or values.requires_grad):
        return "the parts are merged without a gradient"
    if q.shape[-1] % 8 or q.shape[-1] > FLASH_WIDEST_HEAD:
        return f"heads of {q.shape[-1]} channels do not fit the kernels"
    return None


def attend_to_past_and_self(
    q: Float[Tensor, "B H L d"],
    past_keys: Float[Tensor, "B H M d"],
    past_values: Float[Tensor, "B H M d"],
    keys: Float[Tensor, "B H L d"],
    values: Float[Tensor, "B H L d"],
) -> Float[Tensor, "B H L d"]:
    """Return causal attention of L positions after M others, at least one; caches are read where they lie.

    Two products without a mask in memory: to the past positions, all of which are seen, and among the L.
    """
    past, past_lse = attend_with_logsumexp(q, past_keys, past_values, is_causal=False)
    own, own_lse = attend_with_logsumexp(q, keys, values, is_causal=True)
    return merge_attention(past, past_lse, own, own_lse)


def attend_with_logsumexp(
    q: Float[Tensor, "B H L d"],
    k: Float[Tensor, "B H M d"],
    v: Float[Tensor, "B H M d"],
    *,
    is_causal: bool,
) -> tuple[Float[Tensor, "B H L d"], Float[Tensor, "B H L"]]:
    """Return attention and the natural logarithm of the sum of the exponentials of its scores; has no gradient."""
    aten = torch.ops.aten
    if not q.is_cuda:
        y, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, is_causal)
        return y, lse
    if _asks_cudnn(q):
        try:
            y, lse = aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, is_causal)[:2]
        except RuntimeError as error:
            _give_up_cudnn(error)
        else:
            return y, lse.squeeze(-1) if lse.ndim == 4 else lse  # some versions give (B, H, L, 1)
    y, lse = aten._scaled_dot_product_flash_attention(q, k, v, 0.0, is_causal)[:2]
    return y, lse


def merge_attention(
    first: Float[Tensor, "B H L d"],
    first_lse: Float[Tensor, "B H L"],
    second: Float[Tensor, "B H L d"],
    second_lse: Float[Tensor, "B H L"],
) -> Float[Tensor, "B H L d"]:
    """Return attention to the keys of both parts, in the dtype of the first; merged in fp32 (fp64).

    Args:
        first: Attention to one part of the keys.
        first_lse: Natural log-sum-exp of its scores.
        second: Attention to the others.
        second_lse: Likewise.
    """
    precise = torch.promote_types(first.dtype, torch.float32)
    share = torch.sigmoid(first_lse.to(precise) - second_lse.to(precise))[..., None]
    return torch.lerp(second.to(precise), first.to(precise), share).to(first.dtype)


def _asks_cudnn(q: Tensor) -> bool:
    return (
        q.is_cuda
        and q.shape[2] >= CUDNN_FROM
        and q.shape[-1] <= CUDNN_WIDEST_HEAD
        and torch.version.hip is None
        and not _CUDNN_FAILURES
    )


def _give_up_cudnn(error: RuntimeError) -> None:
    """Note that cuDNN is not to be asked again; what is no fault of cuDNN's is raised."""
    if isinstance(error, torch.OutOfMemoryError):
        raise error
    _CUDNN_FAILURES.append(str(error))
    logger.warning("cuDNN's attention failed and is not used any more: %s", error)
