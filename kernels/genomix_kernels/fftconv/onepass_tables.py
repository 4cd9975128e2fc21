"""Matrices and twiddle factors of the one-pass Fourier transforms, in the order of ``cuda/onepass_tile.cuh``.

A transform of ``N = 256 P W C`` points at frequencies that are shifted (by 1/4 for a real row) is split over the C
blocks of a cluster, then over the W warps of each. Part ``q`` of S works at frequencies that are shifted by
``(q + f) / S``, where f is the shift of the whole. Factors are taken in float64 and rounded to fp16 once.
"""

import math
from functools import cache

import torch
from torch import Tensor


def unit(turns: Tensor, scale: float = 1.0) -> Tensor:
    """Return ``scale * exp(-2 pi i turns)``, complex128."""
    angle = -2 * torch.pi * (turns.double() % 1)
    return scale * torch.complex(angle.cos(), angle.sin())


@cache
def tables(
    points: int,
    warps: int,
    cluster: int,
    device: torch.device,
    shift_of_row: float = 0.25,
    *,
    is_complex: bool = False,
) -> Tensor:
    """Return what each lane of each warp reads, int32 words of two fp16 each, ``(cluster * warps, vectors, 32, 4)``.

    Args:
        points: P, the tiles of 256 points that a warp holds.
        warps: W, the warps of a block's transform.
        cluster: C, the blocks that share a transform.
        device: Where to put them.
        shift_of_row: What the whole transform's frequencies are shifted by.
        is_complex: Whether rows consist of complex numbers. Their roots are not shifted, and the same for all warps;
            what a warp is to multiply them by comes last.
    """
    of_block = (torch.arange(cluster).double() + shift_of_row) / cluster
    shift = ((torch.arange(warps) + of_block[:, None]) / warps).reshape(-1, 1, 1, 1)
    # a transform of complex numbers over a block's warps keeps the sum of squares by the first and the last matrix
    has_roots = cluster > 1 or is_complex
    of_points, of_warps = points**-0.5, warps**-0.5 if has_roots else 1.0
    if has_roots and points == warps:
        # both powers of two: what each of them was rounded by would be in every result
        of_points = 2.0 ** -math.ceil(math.log2(points) / 2)
        of_warps = 1 / (points * of_points)
    gain = of_warps / 4
    lane = torch.arange(32)
    word, pair = torch.arange(4), torch.arange(2)
    g, t = (lane // 4)[:, None, None], (lane % 4)[:, None, None]
    high, low = (word // 2)[:, None], (word % 2)[:, None]
    # a tile's word 2 h + b: rows g + 8 h, columns 2 t + 8 b and the next; a left factor's words: h before b
    row, column = g + 8 * high, 2 * t + 8 * low + pair
    left_row, left_column = g + 8 * low, 2 * t + 8 * high + pair
    # a right factor's word 2 b + h: depth 2 t + 8 h and the next, column g + 8 b
    depth, right_column = 2 * t + 8 * low + pair, g + 8 * high
    size = 256 * points
    powers = [(power, 0.0) for power in (4, 2, 1) if 2 * power <= points] + (
        [(1, 1 / 8)] if points == 8 else []
    )
    of_roots = 0 * shift if is_complex else shift
    parts = [
        unit(left_column * (left_row + shift) / 16, gain),
        unit(column * (row + shift) / 256, of_points),
        unit(-right_column * (depth + shift) / 16, gain),
        unit(-row * (column + shift) / 256, of_points),
        unit(left_column * left_row / 16 + 0 * shift, 1 / 4),
        *(unit(power * (row + 16 * column + of_roots) / size + turn) for power, turn in powers),
    ]
    if has_roots:
        roots = _roots_of_blocks(of_block, warps).repeat_interleave(warps, 0)
        parts.append(roots[:, None, :, None].expand_as(parts[0]))
    if is_complex:
        factors = [unit(power * shift.flatten() / size) for power, _ in powers]
        factors += [torch.ones_like(shift.flatten(), dtype=torch.complex128)] * (4 - len(factors))
        parts.append(torch.stack(factors, dim=1)[:, None, :, None].expand_as(parts[0]))
    both = torch.stack(
        [x for part in parts for x in (part.real, part.imag)], dim=1
    )  # (C W, vectors, 32, 4, 2)
    return both.half().contiguous().view(torch.int32).squeeze(-1).to(device)


def _roots_of_blocks(shift: Tensor, warps: int) -> Tensor:
    """Return the roots of transforms over W slots at shifted frequencies, ``(shifts, 4)``: see ``over_tiles``."""
    powers = [(power, 0.0) for power in (4, 2, 1) if 2 * power <= warps] + [(1, 1 / 8)]
    roots = [unit(power * shift / warps + turn) for power, turn in powers]
    return torch.stack((roots + roots)[:4], dim=1)


@cache
def twists(radix: int) -> str:
    """Return the factors by which the first butterflies over S warps or blocks multiply real numbers, as C code.

    For each pair ``s, s + S / 2``: the complex factors of both in the sum, then in the difference.
    """
    s = torch.arange(radix // 2)
    scale = radix**-0.5
    factors = [unit(s / (4 * radix), scale), unit((s + radix // 2) / (4 * radix), scale)]
    turn = unit(s / radix)
    factors += [factors[0] * turn, -factors[1] * turn]
    values = torch.stack([x for factor in factors for x in (factor.real, factor.imag)], dim=1)  # (S / 2, 8)
    bits = values.half().view(torch.int16).int() & 0xFFFF
    rows = ["{" + ", ".join(f"{int(x) * 0x10001:#x}u" for x in row) + "}" for row in bits]
    return "{" + ", ".join(rows) + "}"
