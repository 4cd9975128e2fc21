"""The processes of a run: how they find each other, what each of them is for, and what they agree on.

A launcher (torchrun, or SLURM through it) starts them with ``RANK``, ``LOCAL_RANK``, ``WORLD_SIZE`` and the address of
the first in the environment. One process without a launcher is a run of one, and nothing here changes it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from genomix.parallel.collectives import ContextGroup
from genomix.parallel.launched import n_launched
from genomix.parallel.shape import AXES, MeshShape
from genomix_data.errors import ConfigError

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others before it gives up: as long as a large genome takes to be indexed by one."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run.

    Args:
        mesh: Of all processes, with the axes `genomix.parallel.shape.AXES`.
        shape: Of the mesh.
        device: Of this process.
    """

    mesh: DeviceMesh
    shape: MeshShape
    device: torch.device
    context: ContextGroup = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "context", ContextGroup.of(self.mesh.get_group("context")))

    @property
    def rank(self) -> int:
        """Number of this process."""
        return dist.get_rank()

    @property
    def n(self) -> int:
        """Processes of the run."""
        return self.shape.n_processes

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    @property
    def batch_part(self) -> int:
        """Which part of each batch this process has, of ``shape.n_batch_parts``."""
        return self.rank // self.shape.context

    def part_of(self, x: Shaped[Tensor, "B L"]) -> Shaped[Tensor, "B l"]:
        """Return this rank's part of the tokens."""
        if x.shape[1] % self.context.size:
            raise ValueError(f"{x.shape[1]} tokens cannot be split evenly over {self.context.size} ranks.")
        return x.chunk(self.context.size, dim=1)[self.context.rank]

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of a tensor over all ranks; without a gradient."""
        total = x.detach().clone()
        dist.all_reduce(total)
        return total

    def largest(self, value: int) -> int:
        """Return the largest of the ranks' values; what all ranks are to do alike is decided with it."""
        shared = torch.tensor(value, dtype=torch.long)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return int(shared)

    def from_first(self, value: T) -> T:
        """Return what the first rank has; values of the others do not count."""
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def wait(self) -> None:
        """Wait until all ranks have come here."""
        self.largest(0)  # on the CPU: a barrier of NCCL's would hold the GPU

    @contextmanager
    def first_alone(self) -> Iterator[bool]:
        """Let the first rank work while the others wait; yields whether this is the one.

        Raises:
            RuntimeError: on the others, if it failed there.
        """
        failed = True
        try:
            yield self.is_first
            failed = False
        finally:
            any_failed = self.largest(int(failed))
        if any_failed:
            raise RuntimeError("another process of this run failed; what it said stands above.")


@contextmanager
def joined(shape: MeshShape, device: torch.device) -> Iterator[Ranks]:
    """Join the processes of a run, and leave them afterwards.

    Args:
        shape: How they are arranged; it has to fit their number.
        device: Its type says where to train; of several GPUs each process takes that of its ``LOCAL_RANK``.

    Raises:
        ConfigError: if the processes cannot be arranged so, or there are fewer GPUs than processes on this machine.
    """
    shape = shape.settled(n_launched())
    place = torch.device("cpu")
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"process {local} of this machine has no GPU of its own; there are {torch.cuda.device_count()}. "
                "Start as many processes as there are GPUs (torchrun --nproc-per-node), or take trainer.device=cpu."
            )
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    is_ours = not dist.is_initialized()
    if is_ours:
        # gloo carries what the CPUs agree on, next to NCCL
        backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)
    mesh = init_device_mesh(place.type, shape.sizes, mesh_dim_names=AXES)
    try:
        yield Ranks(mesh, shape, place)
    except KeyboardInterrupt:  # which all of them have agreed on
        _leave(is_ours)
        raise
    # after an error of this rank the others may wait for it, and to leave would be to wait for them
    _leave(is_ours)


def _leave(is_ours: bool) -> None:
    if is_ours:
        dist.destroy_process_group()
