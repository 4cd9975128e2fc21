"""How a long row is split into residues, and the tables; see ``cuda/split_segments.cuh``.

Residue ``q`` of R is a row of complex numbers whose frequencies are shifted by ``(q + 1/4) / R``. Factors are taken in
float64 and rounded once, to fp16.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from genomix_kernels.fftconv.onepass_cuda import SPLIT, Split, transform_size
from genomix_kernels.fftconv.onepass_tables import tables, unit

SHORTEST = 16385
LONGEST = 4194304

LONGEST_OF_CLUSTERS = 65536
"""Up to here clusters may be faster forward; backward pieces are at every length."""

SHARE = 0.75
"""Of the points that a cluster takes for a row: if pieces need no more, they are faster forward too."""

COST = {4096: 4.35, 8192: 5.91, 16384: 6.36, 32768: 8.07, 65536: 8.8, 131072: 9.8}
"""Milliseconds, forward and backward, for 2^28 values by rows of so many points, on an H200; the last is guessed."""

COST_OF_SEGMENTS = {32: 0.0, 64: 0.68, 256: 0.95}
"""Milliseconds more by the number of segments, up to each of these. The least sum decides."""

STAGED = 256
"""Segments of which residues are found in two stages; of fewer, by one product."""

SEGMENTS = (*range(2, 17), *range(20, 65, 4), STAGED)
"""Into how many rows one can be split."""

WIDTH = 32
"""Words of each residue that a warp takes apart or puts together; they have one scale."""


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
    def is_cube(self) -> bool:
        """Whether a row of one residue has 16^3 points: ``cuda/split_cubes.cuh``."""
        return self.split == SPLIT[4096]

    @property
    def half(self) -> int:
        """Numbers of a residue's row that are so far apart share a word."""
        return 256 if self.is_cube else 16 * self.split.points

    @property
    def words_of_filter(self) -> int:
        """Words of a residue of a filter's transform: its points, and a line of 128 bytes for its scale."""
        return self.points + 32

    @property
    def warps_of_row(self) -> int:
        """Warps that take a row apart or put it together."""
        return self.points // (2 * WIDTH)

    @property
    def is_staged(self) -> bool:
        """Whether residues are found in two stages: ``cuda/staged.cuh``."""
        return self.segments == STAGED

    @property
    def defines(self) -> dict[str, int | str]:
        """What all kernels ask for."""
        split = self.split
        return {"P": split.points, "W": split.warps, "CLUSTER": split.cluster, "IS_COMPLEX": 1}


@cache
def plan_for(seqlen: int) -> Plan:
    """Return the split of rows of so many tokens that should take the least time."""
    if not 0 < seqlen <= LONGEST:
        raise ValueError(f"rows of 1 to {LONGEST} tokens can be split; it got {seqlen} tokens.")
    found = []
    for size, cost in COST.items():
        segments = next((n for n in SEGMENTS if n * size >= seqlen), None)
        if segments is not None:
            more = next(x for most, x in COST_OF_SEGMENTS.items() if segments <= most)
            found.append(((cost + more) * segments * size, Plan(segments, SPLIT[size])))
    return min(found, key=lambda x: x[0])[1]


def is_faster(seqlen: int) -> bool:
    """Return whether pieces are faster than clusters forward."""
    plan = plan_for(seqlen)
    return seqlen > LONGEST_OF_CLUSTERS or plan.points * plan.segments <= SHARE * transform_size(seqlen)


@cache
def tables_of_rows(points: int, warps: int, cluster: int, segments: int, device: torch.device) -> Tensor:
    """Return `onepass_tables.tables` for each residue, ``(segments, cluster * warps, vectors, 32, 4)``."""
    shifts = [(q + 0.25) / segments for q in range(segments)]
    host = torch.device("cpu")
    rows = [tables(points, warps, cluster, host, shift, is_complex=True) for shift in shifts]
    return torch.stack(rows).to(device)


@cache
def cube_tables(segments: int, device: torch.device) -> Tensor:
    """Return the matrices and factors of rows of 16^3 points, int32 ``(36 + 12 * segments, 32, 4)``.

    As ``cuda/split_cubes.cuh`` has them, real and imaginary parts: those that all residues have in common come first.
    """
    lane, word, pair = torch.arange(32)[:, None, None], torch.arange(4)[:, None], torch.arange(2)
    g, t, high, low = lane // 4, lane % 4, word // 2, word % 2
    row, column = g + 8 * high, 2 * t + 8 * low + pair  # of a tile
    left_row, left_column = g + 8 * low, 2 * t + 8 * high + pair  # of a left factor
    depth, right_column = 2 * t + 8 * low + pair, g + 8 * high  # of a right factor

    def n2(place: Tensor) -> Tensor:
        return 2 * (place % 8) + place // 8

    def n1(place: Tensor) -> Tensor:
        return 4 * (place % 8 // 2) + 2 * (place // 8) + place % 2

    warp, tile = torch.arange(4)[:, None, None, None, None], torch.arange(4)[:, None, None, None]
    q, m = 2 * warp + tile % 2 + 8 * (tile // 2), 16 * n1(column) + n2(row)
    common = [unit(n2(depth) * right_column / 16, 1 / 4), unit(-n2(left_row) * left_column / 16, 1 / 4)]
    common += list(unit(m * q / 4096).flatten(0, 1))
    f = ((torch.arange(segments).double() + 0.25) / segments).view(-1, 1, 1, 1)
    own = [
        unit(left_column * (left_row + f) / 16, 1 / 4),
        unit(n1(left_column) * (left_row / 16 + f / 256), 1 / 4),
        unit(n2(column) * (row / 256 + f / 4096)),
        unit(-n2(row) * (column / 256 + f / 4096)),
        unit(-n1(right_column) * (depth / 16 + f / 256), 1 / 4),
        unit(-right_column * (depth + f) / 16, 1 / 4),
    ]
    both = [torch.stack([x for y in common for x in (y.real, y.imag)])]
    both.append(torch.stack([x for y in own for x in (y.real, y.imag)], dim=1).flatten(0, 1))
    return torch.cat(both).half().contiguous().view(torch.int32).squeeze(-1).to(device)


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
def matrix_of_columns(segments: int, device: torch.device) -> Tensor:
    """Return the transform from segments to residues as left factors, int32 ``(tiles, steps, 32, 4)``.

    Rows of a tile are the real parts of 8 residues, then their imaginary parts; columns of a step are 16 segments.
    """
    tiles, steps = -(-segments // 8), -(-segments // 16)
    residue = 8 * torch.arange(tiles)[:, None] + torch.arange(8)
    turns = unit((residue[:, :, None] + 0.25) * torch.arange(16 * steps) / segments)
    return _fragments(torch.cat((turns.real, turns.imag), dim=1)).to(device)


@cache
def matrix_of_residues(segments: int, device: torch.device) -> Tensor:
    """Return what leaves the real part of each segment, as left factors, int32 ``(tiles, steps, 32, 4)``.

    Rows of a tile are 16 segments; columns of a step are the real and the imaginary part of each of 8 residues in turn.
    """
    tiles, steps = -(-segments // 16), -(-segments // 8)
    segment = 16 * torch.arange(tiles)[:, None] + torch.arange(16)
    turns = unit(segment[:, :, None] * (torch.arange(8 * steps) + 0.25) / segments)
    # the real part of z exp(+2 pi i t), where `turns` is exp(-2 pi i t)
    return _fragments(torch.stack((turns.real, turns.imag), dim=-1).flatten(2)).to(device)


@cache
def tables_of_stages(device: torch.device, *, is_backward: bool) -> Tensor:
    """Return both stages' matrices and what comes between, int32 ``(6, 32, 4)``: for ``cuda/staged.cuh``.

    Real and imaginary parts; forward by a sixteenth, backward by a 256th.
    """
    lane, word, pair = torch.arange(32)[:, None, None], torch.arange(4)[:, None], torch.arange(2)
    g, t, high, low = lane // 4, lane % 4, word // 2, word % 2
    row, column = g + 8 * high, 2 * t + 8 * low + pair  # of a tile
    left_row, left_column = g + 8 * low, 2 * t + 8 * high + pair  # of a left factor
    depth, right_column = 2 * t + 8 * low + pair, g + 8 * high  # of a right factor
    if is_backward:
        first = unit(left_column * left_row / 16, 1 / 16)
        between = unit(-row * (column + 0.25) / STAGED)
        last = unit(-right_column * (depth + 0.25) / 16, 1 / 16)
    else:
        first = unit(left_column * (left_row + 0.25) / 16, 1 / 4)
        between = unit(column * (row + 0.25) / STAGED)
        last = unit(left_column * left_row / 16, 1 / 4)
    parts = [x for part in (first, between, last) for x in (part.real, part.imag)]
    return torch.stack(parts).half().contiguous().view(torch.int32).squeeze(-1).to(device)


def _fragments(matrices: Tensor) -> Tensor:
    """Return matrices of 16 rows, ``(tiles, 16, columns)``, as lanes hold them 16 columns at a time."""
    lane, word, pair = torch.arange(32)[:, None, None], torch.arange(4)[:, None], torch.arange(2)
    row, column = lane // 4 + 8 * (word % 2), 2 * (lane % 4) + 8 * (word // 2) + pair
    steps = matrices.shape[2] // 16
    blocks = matrices.view(-1, 16, steps, 16).transpose(1, 2)  # (tiles, steps, 16, 16)
    fragments: Tensor = blocks[:, :, row, column].half()
    return fragments.contiguous().view(torch.int32).squeeze(-1)


def _shifts(shift: float, levels: int) -> list[list[float]]:
    """Return the shifts of the groups before each of so many halvings: half of ``f``, and of ``f + 1``."""
    found = [[shift]]
    while len(found) < levels:
        found.append([half for f in found[-1] for half in (f / 2, (f + 1) / 2)])
    return found[:levels]
