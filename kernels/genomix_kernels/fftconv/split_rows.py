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
from genomix_kernels.fftconv.split_plan import WIDTH, Plan, cube_tables, roots_of_rows, tables_of_rows

WARPS_OF_SM = 16
"""Warps that a multiprocessor shall hold, with 128 registers a thread."""

PAIRS_OF_SM = 3
"""Blocks of two rows at once that a multiprocessor shall hold, with 168 registers a thread."""

BLOCKS_OF_GPU = 1024
"""Fewer blocks than these leave a part of a GPU idle, if each takes the rows of a batch one after the other."""

EACH = 4
"""Rows that a block takes one after the other where there are many: the later ones find its tables in a near cache."""

RESERVED = 1024
"""Bytes of shared memory that a block takes besides its own."""


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
            "COLUMNS": WIDTH, "BLOCKS": self._blocks, "PARTS": self._parts,
        }  # fmt: skip

    @property
    def tables(self) -> tuple[Tensor, Tensor | None]:
        """Tables of each residue, and the roots of transforms over the blocks of a cluster."""
        split, segments = self.plan.split, self.plan.segments
        if self.plan.is_cube:
            return cube_tables(segments, self.device), None
        roots = roots_of_rows(split.cluster, segments, self.device) if split.cluster > 1 else None
        return tables_of_rows(*split, segments, self.device), roots

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * self.plan.split.warps

    @property
    def slots(self) -> int:
        """Bytes that a block's threads exchange through, and need besides."""
        half = 512 * self.plan.split.points * self.plan.split.warps
        return shared_bytes(self.plan.split) - (0 if self._parts == 2 else half)

    @property
    def slots_and_transform(self) -> int:
        """These, and a transform that waits."""
        return self.slots + 4 * self.plan.points

    @property
    def has_room(self) -> bool:
        """Whether blocks find room for a transform; those of a cluster do not."""
        return self.plan.split.cluster == 1 and self._fit(self.slots_and_transform)

    @property
    def takes_pairs(self) -> bool:
        """Whether a block may take two rows at once: ``cuda/split_cubes.cuh``."""
        return self.plan.is_cube and self._parts == 2

    @property
    def slots_of_pair(self) -> int:
        """Bytes that two rows at once are exchanged through."""
        return 2 * self.slots

    def takes_sums(self, channels: int, batch: int) -> bool:
        """Return whether a block takes all rows of a batch, and sums up what their filter gets of them."""
        has_room = self.takes_pairs and PAIRS_OF_SM * (self.slots_and_sums + RESERVED) <= shared_of_sm(
            self.device
        )
        return has_room and batch > 1 and channels * self.plan.segments >= BLOCKS_OF_GPU

    @property
    def slots_and_sums(self) -> int:
        """These, and sums in fp32."""
        return self.slots_of_pair + 8 * self.plan.points

    def each(self, rows: int) -> int:
        """Return how many rows of a residue a block takes: several, if there are blocks to fill a GPU many times."""
        is_many = rows * self.plan.segments >= EACH * 8 * BLOCKS_OF_GPU
        return EACH if is_many and self.plan.split.cluster == 1 else 1

    def grid(self, rows: int, each: int = 1) -> tuple[int, int]:
        """Return the blocks, or clusters of them, that take so many rows of every residue."""
        return math.ceil(rows / each), self.plan.segments

    @property
    def _blocks(self) -> int:
        """Blocks that a multiprocessor shall hold."""
        return WARPS_OF_SM // self.plan.split.warps

    @property
    def _parts(self) -> int:
        """Whether threads exchange real and imaginary parts at once (2), or one after the other (1)."""
        split = self.plan.split
        return 2 if split.cluster > 1 or self._fit(shared_bytes(split) + 4 * self.plan.points) else 1

    def _fit(self, n: int) -> bool:
        return self._blocks * (n + RESERVED) <= shared_of_sm(self.device)


def shared_of_sm(device: torch.device) -> int:
    """Return the bytes of shared memory of a multiprocessor; where there is no GPU, an H100's."""
    if device.type != "cuda":
        return 228 << 10
    shared: int = torch.cuda.get_device_properties(device).shared_memory_per_multiprocessor
    return shared
