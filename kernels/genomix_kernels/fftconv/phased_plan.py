"""How a long transform is cut into columns and rows, and its tables; see ``cuda/phased.cuh``.

With ``M = N1 N2`` points, ``n = N2 n1 + n2`` and ``k = k1 + N1 k2``, the right-angled transform is

    X[k] = sum_n x[n] exp(-2 pi i n (k - 1/4) / M)

and every factor of it follows from ``theta = k1 - 1/4``. Columns are cut into ``n1 = radix_b a + b``, rows into
``n2 = 16 span alpha + span beta + gamma``.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

SPANS = (4, 8, 16)
LONGEST = 64 * 16 * 4096


@dataclass(frozen=True, slots=True)
class Plan:
    """Factors of a transform: ``radix_a * radix_b`` rows of ``256 * span`` points."""

    radix_a: int
    radix_b: int
    span: int

    @property
    def n1(self) -> int:
        """Rows of a plane, which are the points of a column."""
        return self.radix_a * self.radix_b

    @property
    def n2(self) -> int:
        """Points of a row."""
        return 256 * self.span

    @property
    def size(self) -> int:
        """Points of the transform, complex ones."""
        return self.n1 * self.n2

    @property
    def together(self) -> int:
        """Vectors of four columns that share a unit of 16 slots."""
        return 1 << (4 - (self.radix_b - 1).bit_length())

    @property
    def blocks_a(self) -> int:
        """Tiles of 16 that hold ``radix_a``."""
        return -(-self.radix_a // 16)

    @property
    def gain(self) -> float:
        """What undoes the scales of all stages, of a signal, of a filter and of the way back."""
        stages = _scale(self.radix_a) * _scale(self.radix_b) * _scale(self.span) / 16
        return 1 / (8 * self.size * stages**3)


@cache
def plan_for(seqlen: int) -> Plan:
    """Return the cheapest plan of at least ``seqlen`` points; a point of columns costs about half one of rows."""
    if not 0 < seqlen <= LONGEST:
        raise ValueError(f"the phased transform takes 1 to {LONGEST} tokens; it got {seqlen}.")
    plans = [
        Plan(a, b, span)
        for span in SPANS
        for b in range(1, 17)
        for a in [max(1, -(-seqlen // (256 * span * b)))]
        if a <= 64
    ]

    def cost(plan: Plan) -> float:
        slots = 256 * plan.blocks_a / plan.together
        return plan.n2 * (plan.n1 + 0.5 * slots * (0.7 + 0.3 * plan.blocks_a))

    return min(plans, key=cost)


def _scale(radix: int) -> float:
    """Return the power of two at or below ``1 / sqrt(radix)``."""
    return 0.5 ** math.ceil(math.log2(radix) / 2)


def _turns(numerator: Tensor, denominator: int) -> Tensor:
    """Return ``exp(-2 pi i numerator / denominator)`` in complex128, of exact integers."""
    return torch.polar(
        torch.ones((), dtype=torch.float64, device=numerator.device),
        (numerator % denominator).double() * (-2 * math.pi / denominator),
    )


def _words(matrix: Tensor) -> Tensor:
    """Return complex (..., 16, 16) matrices as tiles (..., 2, 32, 4) of words: see ``cuda/phased.cuh``."""
    parts = torch.view_as_real(matrix.resolve_conj()).movedim(-1, -3).half()  # (..., 2, 16, 16)
    # row g + 8 hh, column 8 nt + 2 t + e -> lane (g, t), word (nt, hh)
    split = parts.reshape(*parts.shape[:-2], 2, 8, 2, 4, 2)  # hh, g, nt, t, e
    n = split.ndim
    order = [*range(n - 5), n - 4, n - 2, n - 3, n - 5, n - 1]
    return split.permute(order).contiguous().view(torch.int32).reshape(*parts.shape[:-2], 32, 4)


def _padded(matrix: Tensor, size: int) -> Tensor:
    return torch.nn.functional.pad(matrix, (0, size - matrix.shape[-1], 0, size - matrix.shape[-2]))


@cache
def column_tables(plan: Plan, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the tables of columns on the way in and on the way back, words of tiles."""
    a = torch.arange(plan.radix_a, device=device)
    b = torch.arange(plan.radix_b, device=device)
    blocks, size = plan.blocks_a, 16 * plan.blocks_a
    across = _turns((4 * a[:, None] - 1) * a, 4 * plan.radix_a) * _scale(plan.radix_a)
    turns = _turns((4 * a[:, None] - 1) * b, 4 * plan.n1)
    slots = _turns(b[:, None] * b, plan.radix_b) * _scale(plan.radix_b)
    slots = _padded(torch.block_diag(*[slots] * plan.together), 16)  # type: ignore[no-untyped-call]
    turns = _padded(turns.repeat(1, plan.together), size)[:, :16]

    def tiles(matrix: Tensor) -> Tensor:
        return _words(matrix.reshape(blocks, 16, -1, 16).movedim(2, 1)).reshape(-1)

    across = _padded(across, size)
    ahead = (tiles(across), _words(turns.reshape(blocks, 16, 16)).reshape(-1), _words(slots).reshape(-1))
    turned = turns.conj().reshape(blocks, 16, 16).mT
    # only the real part is wanted: the imaginary table is kept negated, which is the conjugate's conjugate
    back = (_words(slots.conj()).reshape(-1), _words(turned).reshape(-1), tiles(across.mT))
    return torch.cat(ahead), torch.cat(back)


@cache
def row_tables(plan: Plan, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the tables of each row of a plane, (n1, words), and those that all rows share."""
    k = torch.arange(16, device=device)
    k1 = torch.arange(plan.n1, device=device)[:, None, None]
    shifted = 4 * plan.n1 * k[:, None] + 4 * k1 - 1  # 4 N1 (k + theta / N1), (n1, 16, 1)
    alpha = _turns(shifted * k, 64 * plan.n1) / 4
    turns = _turns(shifted * k, 1024 * plan.n1)
    tables = [_words(x).reshape(plan.n1, -1) for x in (alpha, alpha.mT.conj(), turns, turns.mT.conj())]
    # (n1, 256, gamma), k = k_alpha + 16 k_beta in the order (k_alpha, k_beta); chunks are (real 4, imaginary 4)
    of_k = (k[:, None] + 16 * k).reshape(-1, 1)
    gamma = torch.arange(plan.span, device=device)
    gamma_turns = _turns((4 * plan.n1 * of_k + 4 * k1 - 1) * gamma, 4 * plan.size)
    chunks = torch.view_as_real(gamma_turns).half().reshape(plan.n1, 256, plan.span // 4, 4, 2).mT
    tables.append(chunks.contiguous().view(torch.int32).reshape(plan.n1, -1))
    beta = _turns(k[:, None] * k, 16) / 4
    across = _turns(gamma[:, None] * gamma, plan.span) * _scale(plan.span)
    across = torch.block_diag(*[across] * (16 // plan.span))  # type: ignore[no-untyped-call]
    # column 8 nt + 2 t + e of a tile is slot 4 t + 2 nt + e
    slot = _slots(device)
    return torch.cat(tables, dim=1), torch.cat(
        (_words(beta).reshape(-1), _words(across[slot][:, slot]).reshape(-1))
    )


def _slots(device: torch.device) -> Tensor:
    """Return the gamma slot of each column of a tile."""
    column = torch.arange(16, device=device)
    return 4 * (column % 8 // 2) + 2 * (column // 8) + column % 2
