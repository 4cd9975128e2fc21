"""Rotary positions: queries and keys turned by an angle that grows with the position.

Channel ``j`` of a head turns with channel ``j + d/2``, of angle ``a = (position / position_scale) inv_freq[j]``:
``y[j] = x[j] cos a - x[j + d/2] sin a``, ``y[j + d/2] = x[j + d/2] cos a + x[j] sin a``. The gradient is turned
back, by ``-a``. Source: Su et al. 2021, RoFormer, arXiv:2104.09864; position interpolation: Chen et al. 2023,
arXiv:2306.15595.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genomix_kernels.dispatch import Backend, choose, register
from genomix_kernels.triton_support import why_not_triton, why_unavailable

WIDEST_HEAD = 512
"""Channels a head that one program of the Triton kernel holds."""


def rotary(
    qkv: Float[Tensor, "B L H 3 d"],
    cos: Float[Tensor, "b L half"],
    sin: Float[Tensor, "b L half"],
    *,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "B H L d"], Float[Tensor, "B H L d"], Float[Tensor, "B H L d"]]:
    """Return turned queries, turned keys, and values, heads first, of a joint projection.

    Args:
        qkv: The projection, ``(batch, seqlen, head, q|k|v, channel)``, an even number of channels.
        cos: Of `rotary_tables`, ``(1 or batch, seqlen, d / 2)``; no gradient reaches it.
        sin: Likewise.
        backend: ``"auto"``, or the name of a backend.

    Returns:
        Three tensors in the dtype of ``qkv``, computed in fp32 (fp64) and rounded once. Their elements lie in the order
        (B, L, H, d), so that what attention returns in the order of its queries joins heads without a copy.

    Raises:
        ValueError: if shapes do not fit together.
    """
    fits = qkv.ndim == 5 and qkv.shape[3] == 3 and qkv.shape[4] % 2 == 0
    if not fits or any(
        table.ndim != 3
        or table.shape[0] not in (1, qkv.shape[0])
        or table.shape[1:] != (qkv.shape[1], qkv.shape[4] // 2)
        for table in (cos, sin)
    ):
        raise ValueError(
            "rotary takes qkv (B, L, H, 3, d) with an even d, and cos and sin (1 or B, L, d / 2); "
            f"it got {tuple(qkv.shape)}, {tuple(cos.shape)} and {tuple(sin.shape)}."
        )
    q, k, v = choose("rotary", backend, qkv, cos, sin).load()(qkv, cos, sin)
    return q, k, v


def rotary_tables(
    positions: Int[Tensor, "b L"],
    inv_freq: Float[Tensor, " half"],
    *,
    position_scale: float = 1.0,
    dtype: torch.dtype,
) -> tuple[Float[Tensor, "b L half"], Float[Tensor, "b L half"]]:
    """Return cosine and sine of each position and frequency, computed in fp32 (fp64) and rounded to ``dtype``.

    Args:
        positions: From 0.
        inv_freq: Angle a position, in radians.
        position_scale: Positions are divided by it; 1 leaves them.
        dtype: Of the activations.
    """
    precise = torch.promote_types(dtype, torch.float32)
    scaled = positions.to(precise)
    if position_scale != 1:
        scaled = scaled / position_scale
    angles = scaled[..., None] * inv_freq.to(precise)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _load_reference() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    from genomix_kernels.rotary.reference import rotary_reference

    return rotary_reference


def _load_triton() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    from genomix_kernels.rotary.triton_backend import rotary_triton

    return rotary_triton


def _why_not(qkv: Tensor, cos: Tensor, sin: Tensor) -> str | None:
    if qkv.shape[-1] > WIDEST_HEAD:
        return f"heads of {qkv.shape[-1]} channels are wider than {WIDEST_HEAD}"
    if cos.requires_grad or sin.requires_grad:
        return "the kernel gives cos and sin no gradient"
    if qkv.numel() == 0:
        return "there is nothing to compute"
    return why_not_triton(qkv, cos, sin)


register(
    "rotary",
    "triton",
    priority=20,
    load=_load_triton,
    supports=_why_not,
    why_unavailable=why_unavailable,
)
register("rotary", "reference", priority=0, load=_load_reference)
