"""How processes are arranged: replicas, shards of parameters, parts of a sequence. Importing this costs no torch."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from genomix_data.errors import ConfigError

AXES = ("data", "shard", "context")
"""Of the mesh, the slowest first: ranks that share a sequence are neighbors, on the fastest links."""


@dataclass(frozen=True, kw_only=True)
class MeshShape:
    """Processes along each axis; their product is the number of processes.

    Args:
        data: Replicas of the model, each on windows of its own. None: as many as there are
            processes for, see `settled`.
        shard: Ranks that share the parameters, gradients and optimizer state of a replica (FSDP2), each on windows of
            its own. The ranks of ``context`` share them too.
        context: Ranks that share each sequence; its length must be a multiple of it.
        strategy: ``ddp`` keeps parameters whole on every rank, ``fsdp`` shares them among the ranks of ``shard`` and
            ``context``; ``auto`` is ``fsdp`` where ``shard`` is more than one.
    """

    data: int | None = None
    shard: int = 1
    context: int = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"

    def __post_init__(self) -> None:
        for axis in AXES:
            n = getattr(self, axis)
            if axis == "data" and n is None:
                continue
            if isinstance(n, bool) or not isinstance(n, int) or n < 1:
                raise ConfigError(f"parallel.{axis} is {n!r}; it must be a whole number of at least 1.")
        if self.strategy == "ddp" and self.shard > 1:
            raise ConfigError(
                f"parallel.strategy=ddp keeps parameters whole, and parallel.shard={self.shard} shares them; "
                "take parallel.data instead, or parallel.strategy=fsdp."
            )
        if self.strategy == "fsdp" and self.shard * self.context == 1:
            raise ConfigError(
                "parallel.strategy=fsdp shares parameters among the ranks of parallel.shard and parallel.context, and "
                "both are 1; raise parallel.shard."
            )

    def settled(self, n_processes: int) -> "MeshShape":
        """Return the shape with ``data`` known: all processes take part.

        Raises:
            ConfigError: if so many processes cannot be arranged so.
        """
        rest = self.shard * self.context
        data = n_processes // rest if self.data is None else self.data
        if data * rest != n_processes:
            wanted = "a multiple of " if self.data is None else ""
            raise ConfigError(
                f"parallel.data={'null' if self.data is None else self.data} x parallel.shard={self.shard} x "
                f"parallel.context={self.context} needs {wanted}{rest * (self.data or 1)} processes, and there "
                f"{'is' if n_processes == 1 else 'are'} {n_processes}. {_how_to_start(rest * (self.data or 1))}"
            )
        return replace(self, data=data)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Processes along each of `AXES`; ``data`` is 1 where it is not known yet."""
        return self.data or 1, self.shard, self.context

    @property
    def shards_parameters(self) -> bool:
        """Whether parameters are shared among ranks."""
        return self.shard > 1 or self.strategy == "fsdp"

    @property
    def n_processes(self) -> int:
        """Processes in all."""
        return math.prod(self.sizes)

    @property
    def n_batch_parts(self) -> int:
        """Parts that the windows of a batch are dealt out to."""
        return self.sizes[0] * self.shard

    def __str__(self) -> str:
        return " x ".join(f"{axis} {size}" for axis, size in zip(AXES, self.sizes, strict=True))

    def check_seqlen(self, seqlen: int) -> None:
        """Check that sequences of this length can be shared.

        Raises:
            ConfigError: if not.
        """
        if seqlen % self.context:
            raise ConfigError(
                f"data.seqlen={seqlen} cannot be split evenly over parallel.context={self.context} ranks; "
                f"take {seqlen - seqlen % self.context} or {seqlen + -seqlen % self.context}."
            )

    def check_batch(self, batch_size: int) -> None:
        """Check that a batch can be shared.

        Raises:
            ConfigError: if not.
        """
        if batch_size % self.n_batch_parts:
            raise ConfigError(
                f"data.batch_size={batch_size} cannot be shared evenly by parallel.data={self.sizes[0]} x "
                f"parallel.shard={self.shard}. It counts the windows of all ranks together: take "
                f"{batch_size + -batch_size % self.n_batch_parts}."
            )


def _how_to_start(n_processes: int) -> str:
    return f"Start them with: torchrun --nproc-per-node {n_processes} -m genomix_cli.main pretrain ..."
