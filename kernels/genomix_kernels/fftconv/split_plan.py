"""How a long row is split into residues for clusters, and the tables; see ``cuda/split_segments.cuh``.

Residue ``q`` of R is a row of complex numbers whose frequencies are shifted by ``(q + 1/4) / R``. Factors are taken in
float64 and rounded once, to fp16 for clusters, to fp32 for the transforms over segments.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from genomix_kernels.fftconv.onepass_cuda import SPLIT, Split
from genomix_kernels.fftconv.onepass_tables import tables, unit

SHORTEST = 262145
LONGEST = 4194304

COST = {32768: 1.25, 65536: 1.48, 131072: 1.87, 262144: 2.4}
"""Milliseconds for 2^28 values in rows of so many points, of one pass by clusters on an H200: the two in the middle are
measured (real rows), the others guessed. It decides how rows are split.
"""

COST_OF_MANY = 0.25
"""What more than 16 segments add, since a multiprocessor holds fewer warps with so many: guessed."""

SEGMENTS = (*range(2, 17), *range(20, 33, 4))
"""Into how many rows one can be split: a thread holds a few tokens of each."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How rows are split."""

    segments: int
    """R, which is also the number of residues."""
    split: Split
    """Of a row of one residue."""

    @property
    def points(self) -> int:
        """Complex points of a row of one residue."""
        return 256 * self.split.points * self.split.warps * self.split.cluster

    @property
    def tokens(self) -> int:
        """Neighbouring columns of a thread that takes rows apart: it holds those of all segments, twice."""
        return 4 if self.segments <= 8 else 2

    @property
    def warps_of_row(self) -> int:
        """Warps that take a row apart, each with a scale of its own."""
        return self.points // (64 * self.tokens)

    @property
    def defines(self) -> dict[str, int | str]:
        """What all kernels ask for."""
        split = self.split
        return {"P": split.points, "W": split.warps, "CLUSTER": split.cluster}


@cache
def plan_for(seqlen: int) -> Plan:
    """Return the split of rows of so many tokens that should take the least time."""
    if not 0 < seqlen <= LONGEST:
        raise ValueError(
            f"rows of 1 to {LONGEST} tokens can be split among clusters; it got {seqlen} tokens."
        )
    found = []
    for size, cost in COST.items():
        segments = next((n for n in SEGMENTS if n * size >= seqlen), None)
        if segments is not None:
            cost += COST_OF_MANY if segments > 16 else 0
            found.append((cost * segments * size, Plan(segments, SPLIT[size])))
    return min(found, key=lambda x: x[0])[1]


def factors(segments: int) -> tuple[int, int]:
    """Return ``(levels, odd)`` with ``segments = 2**levels * odd``."""
    levels = (segments & -segments).bit_length() - 1
    return levels, segments >> levels


@cache
def tables_of_rows(points: int, warps: int, cluster: int, segments: int, device: torch.device) -> Tensor:
    """Return `onepass_tables.tables` for each residue, ``(segments, cluster * warps, vectors, 32, 4)``."""
    shifts = [(q + 0.25) / segments for q in range(segments)]
    host = torch.device("cpu")
    return torch.stack([tables(points, warps, cluster, host, shift) for shift in shifts]).to(device)


@cache
def roots_of_rows(cluster: int, segments: int, device: torch.device) -> Tensor:
    """Return the roots of each residue's transform over blocks, int32 ``(segments, cluster / 2, 2)``.

    Real and imaginary part, each as a word of the same fp16 value twice. Of each level those of even groups: the group
    after each of them has the same, turned by a quarter.
    """
    rows = []
    for q in range(segments):
        shifts = _shifts((q + 0.25) / segments, cluster.bit_length() - 1)
        rows.append(torch.tensor([shift for level in shifts for shift in level[:: min(2, len(level))]]))
    roots = unit(torch.stack(rows).double() / 2)
    both = torch.stack((roots.real, roots.imag), dim=-1)[..., None].expand(-1, -1, -1, 2)
    return both.half().contiguous().view(torch.int32).squeeze(-1).to(device)


@cache
def halves(segments: int) -> str:
    """Return a root for each group of each level of the transforms over segments, as C code."""
    levels, _odd = factors(segments)
    return _code([unit(torch.tensor(shift / 2)) for level in _shifts(0.25, levels) for shift in level])


@cache
def matrices(segments: int) -> str:
    """Return, as C code, what the odd factor of the transforms over segments is multiplied by in each group."""
    levels, odd = factors(segments)
    shifts = torch.tensor(_shifts(0.25, levels + 1)[-1], dtype=torch.float64)
    point = torch.arange(odd)
    return _code(list(unit((point[:, None] + shifts[:, None, None]) * point / odd).flatten()))


def _shifts(shift: float, levels: int) -> list[list[float]]:
    """Return the shifts of the groups before each of so many halvings: half of ``f``, and of ``f + 1``."""
    found = [[shift]]
    while len(found) < levels:
        found.append([half for f in found[-1] for half in (f / 2, (f + 1) / 2)])
    return found[:levels]


def _code(values: list[Tensor]) -> str:
    rows = [f"{{{x.real.item():.9e}f, {x.imag.item():.9e}f}}" for x in values]
    return "{" + ", ".join(rows or ["{1.0f, 0.0f}"]) + "}"
