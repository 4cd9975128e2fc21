"""How the kernels over rows of residues are launched: blocks, their shared memory, and what they read besides.

See ``cuda/split_rows.cuh``. Where a multiprocessor has room for it besides what threads exchange, a block keeps a
transform in shared memory until it is needed.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from genomix_kernels.fftconv.onepass_cuda import shared_bytes
from genomix_kernels.fftconv.onepass_tables import twists
from genomix_kernels.fftconv.split_plan import WIDTH, Plan, roots_of_rows, tables_of_rows

WARPS_OF_SM = 16
"""Warps that a multiprocessor shall hold, with 128 registers a thread."""

ROWS_OF_GPU = 1024
"""Fewer rows than these leave a part of a GPU idle, if each team takes those of a batch one after the other."""

EACH = 4
"""Rows that a team takes one after the other where there are many: later ones find its tables at hand."""

RESERVED = 1024
"""Bytes of shared memory that a block takes besides its own."""

NEAR = 8
"""Vectors of a warp's tables that a block keeps in shared memory: as in ``cuda/onepass_tile.cuh``."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of residues on a device."""

    plan: Plan
    device: torch.device

    @property
    def defines(self) -> dict[str, int | str]:
        """What their kernels ask for; planes are the same whatever the dtype of the signals."""
        return self.plan.defines | {
            "VECTOR": 1, "FP16": 1, "TWISTS": twists(self.plan.split.cluster), "SEGMENTS": self.plan.segments,
            "COLUMNS": WIDTH, "TEAMS": self.teams, "BLOCKS": self._blocks, "PARTS": self._parts,
        }  # fmt: skip

    @property
    def tables(self) -> tuple[Tensor, Tensor | None]:
        """Tables of each residue, and the roots of transforms over the blocks of a cluster."""
        split, segments = self.plan.split, self.plan.segments
        roots = roots_of_rows(split.cluster, segments, self.device) if split.cluster > 1 else None
        return tables_of_rows(*split, segments, self.device), roots

    @property
    def teams(self) -> int:
        """Rows that a block has in work at once: all that a multiprocessor shall hold. Blocks of a cluster have one."""
        return WARPS_OF_SM // self.plan.split.warps if self.plan.split.cluster == 1 else 1

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * self.plan.split.warps * self.teams

    @property
    def shared(self) -> int:
        """Bytes that a block's threads exchange through, and need besides."""
        return self._shared(self._parts, 0)

    @property
    def shared_with_transforms(self) -> int:
        """These, and a transform of each team that waits."""
        return self._shared(self._parts, 4 * self.plan.points)

    @property
    def shared_with_sums(self) -> int:
        """These, and sums of each team in fp32."""
        return self._shared(2, 8 * self.plan.points)

    @property
    def has_room(self) -> bool:
        """Whether there is room for transforms that wait; not in blocks of a cluster."""
        return self.plan.split.cluster == 1 and self._fits(self.shared_with_transforms)

    def takes_sums(self, channels: int, batch: int) -> bool:
        """Return whether a team takes all rows of a batch, two at once, and sums up what filters get of them."""
        split = self.plan.split
        has_room = split.cluster == 1 and split.points == 4 and self._fits(self.shared_with_sums)
        return has_room and batch > 1 and channels * self.plan.segments >= ROWS_OF_GPU

    def each(self, rows: int) -> int:
        """Return how many rows of a residue a team takes: several, if there are enough to fill a GPU many times."""
        is_many = rows * self.plan.segments >= EACH * 8 * ROWS_OF_GPU
        return EACH if is_many and self.plan.split.cluster == 1 else 1

    def grid(self, rows: int, each: int = 1) -> tuple[int, int]:
        """Return the blocks, or clusters of them, that take so many rows of every residue."""
        return math.ceil(rows / (self.teams * each)), self.plan.segments

    def ahead(self, rows: int, each: int = 1) -> int:
        """Return how many residues further the blocks are that begin once all that a GPU holds have ended."""
        if self.device.type != "cuda":
            return 1
        held = self._blocks * torch.cuda.get_device_properties(self.device).multi_processor_count
        return math.ceil(held / (self.plan.split.cluster * self.grid(rows, each)[0]))

    @property
    def _blocks(self) -> int:
        """Blocks that a multiprocessor shall hold."""
        return WARPS_OF_SM // (self.plan.split.warps * self.teams)

    @property
    def _parts(self) -> int:
        """Whether threads exchange real and imaginary parts at once (2), or one after the other (1)."""
        is_clustered = self.plan.split.cluster > 1
        return 2 if is_clustered or self._fits(self._shared(2, 4 * self.plan.points)) else 1

    def _shared(self, parts: int, more: int) -> int:
        """Return the bytes of a block whose teams exchange so many parts at once and need so much more."""
        split = self.plan.split
        slots = shared_bytes(split) - (2 - parts) * 512 * split.points * split.warps
        near = 512 * NEAR * split.warps if split.cluster == 1 else 0
        return near + self.teams * (slots + more)

    def _fits(self, shared: int) -> bool:
        return self._blocks * (shared + RESERVED) <= shared_of_sm(self.device)


def shared_of_sm(device: torch.device) -> int:
    """Return the bytes of shared memory of a multiprocessor; where there is no GPU, an H100's."""
    if device.type != "cuda":
        return 228 << 10
    shared: int = torch.cuda.get_device_properties(device).shared_memory_per_multiprocessor
    return shared
