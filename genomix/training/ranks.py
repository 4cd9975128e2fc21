"""The ranks of a pretraining run: one process alone, or those of a mesh together.

The loop asks them for whatever is different: which windows are its own, what the loss of a step is, how checkpoints
are written and read. One process writes files (``last.ckpt``), a mesh writes folders (``last/``) in which every rank
puts what it holds; either can go on from the other's.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training.config import PretrainConfig
from genomix.training.fasta_config import SoftMaskLoss
from genomix.training.lm_loss import next_token_sums
from genomix.training.run_folder import RunFolder, load_checkpoint, save_checkpoint
from genomix.training.stages import Stage
from genomix_data.errors import ConfigError
from genomix_data.lm_batch import HeldOutBatch, LMBatch

if TYPE_CHECKING:
    from genomix.parallel.processes import Ranks
    from genomix.parallel.step import ParallelStep


class RunRanks:
    """One process.

    Attributes:
        n: Processes.
        rank: The number of this one.
        is_first: Whether this process speaks, and writes what is written once.
        batch_part: Which part of each batch it has, of ``n_batch_parts``.
        step: Loss and gradients of a batch that is shared; None where there is nobody to share it with.
    """

    n = 1
    rank = 0
    is_first = True
    batch_part = 0
    n_batch_parts = 1
    step: "ParallelStep | None" = None

    def __str__(self) -> str:
        return "one"

    def check(self, config: PretrainConfig, stages: Sequence[Stage]) -> None:
        """Check that the process can make a run.

        Raises:
            ConfigError: if its windows or batches cannot be shared.
        """

    def take(self, model: HyenaDNA | StripedHyena2, form: SoftMaskLoss) -> None:
        """Prepare a model for training; ``form`` is what its loss is divided by."""

    def folder(self, path: RunFolder) -> RunFolder:
        """Return the run folder as this process may use it."""
        return path

    def turn(self, work: Callable[[], Any]) -> Any:
        """Return what ``work`` returns, done by the first process before the others."""
        return work()

    def agree(self, value: int) -> int:
        """Return the largest value that a process of the run has."""
        return value

    def clip(self, parameters: list[nn.Parameter], largest: float) -> Tensor:
        """Scale gradients down where their norm is larger than allowed, and return the norm before."""
        return nn.utils.clip_grad_norm_(parameters, largest)

    @contextmanager
    def scoring(self, model: nn.Module) -> Iterator[None]:
        """Have a model ready for forward passes alone within the block."""
        yield

    def share(self, batch: HeldOutBatch) -> HeldOutBatch:
        """Return this process's part of held-out windows."""
        return batch

    def total(self, sums: Tensor) -> Tensor:
        """Return sums over the parts of all processes."""
        return sums

    def numbers(self, path: Path, required: Iterable[str]) -> dict[str, Any]:
        """Return the state of a checkpoint; its tensors may be missing, until `complete`.

        Raises:
            CheckpointError: as `load`.
        """
        return self.load(path, required)

    def complete(self, state: dict[str, Any], path: Path, model: nn.Module) -> dict[str, Any]:
        """Return what `numbers` gave, with its tensors; those of the model's parameters as they lie in it."""
        return state

    def load(
        self, path: Path, required: Iterable[str] = (), model: nn.Module | None = None
    ) -> dict[str, Any]:
        """Return the state of a checkpoint, written by one process or by a mesh.

        Args:
            path: As of one process, ``last.ckpt``.
            required: Keys that it must have.
            model: Of which parameters the state is.

        Raises:
            CheckpointError: if there is none, or it is damaged.
        """
        shared = _shared(path)
        if not _is_newest(shared, path):
            return load_checkpoint(path, required)
        from genomix.parallel.checkpoint import load_sharded

        return load_sharded(shared, required)

    def save(self, path: Path, state: Mapping[str, Any]) -> None:
        """Write a checkpoint; the file is whole at every moment."""
        save_checkpoint(path, state)
        shutil.rmtree(_shared(path), ignore_errors=True)  # of a mesh that made an earlier part of the run

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors put together from what the processes hold; the first gets them."""
        return dict(tensors)

    def from_first(self, value: Any) -> Any:
        """Return what the first process has."""
        return value


class MeshRanks(RunRanks):
    """The ranks of a mesh.

    Args:
        processes: That have found each other.
    """

    def __init__(self, processes: "Ranks") -> None:
        self.processes = processes
        self.n = processes.n
        self.rank = processes.rank
        self.is_first = processes.is_first
        self.batch_part = processes.batch_part
        self.n_batch_parts = processes.shape.n_batch_parts

    def __str__(self) -> str:
        return str(self.processes.shape)

    def check(self, config: PretrainConfig, stages: Sequence[Stage]) -> None:
        """Check that the ranks can make a run.

        Raises:
            ConfigError: if its windows or batches cannot be shared, or it has a budget of time.
        """
        for stage in stages:
            self.processes.shape.check_seqlen(stage.windows.seqlen)
            self.processes.shape.check_batch(stage.batch_size)
        if config.trainer.max_seconds is not None:
            raise ConfigError(
                "trainer.max_seconds is measured on one process; give several of them trainer.max_steps."
            )

    def take(self, model: HyenaDNA | StripedHyena2, form: SoftMaskLoss) -> None:
        """Prepare a model for training; ``form`` is what its loss is divided by."""
        from genomix.parallel.step import ParallelStep

        def sums(model: HyenaDNA | StripedHyena2, part: LMBatch) -> tuple[Tensor, Tensor]:
            hidden = model.hidden_states(part.inputs)
            return next_token_sums(model, hidden, part.targets, part.weights, form)

        self.step = ParallelStep(model, self.processes, sums)

    def folder(self, path: RunFolder) -> RunFolder:
        """Return the run folder; of all ranks only the first writes to it."""
        return path if self.is_first else _Watched(path.path)

    def turn(self, work: Callable[[], Any]) -> Any:
        """Return what ``work`` returns, done by the first rank before the others."""
        result = None
        with self.processes.first_alone() as is_first:
            if is_first:
                result = work()
        return result if self.is_first else work()

    def agree(self, value: int) -> int:
        """Return the largest value that a rank has."""
        return self.processes.largest(value)

    def clip(self, parameters: list[nn.Parameter], largest: float) -> Tensor:
        """Scale gradients down where their norm, over all ranks, is larger, and return the norm before."""
        from genomix.parallel.step import clip_gradients

        return clip_gradients(parameters, largest)

    @contextmanager
    def scoring(self, model: nn.Module) -> Iterator[None]:
        """Have a model ready for forward passes alone within the block."""
        from genomix.parallel.parallelize import forward_passes_alone

        with forward_passes_alone(model):
            yield

    def share(self, batch: HeldOutBatch) -> HeldOutBatch:
        """Return this rank's part of held-out windows."""
        from genomix.parallel.batches import part_of_held_out

        return part_of_held_out(batch, self.processes)

    def total(self, sums: Tensor) -> Tensor:
        """Return sums over the parts of all ranks."""
        return self.processes.sum(sums)

    def numbers(self, path: Path, required: Iterable[str]) -> dict[str, Any]:
        """Return the state of a checkpoint; its tensors may be missing, until `complete`."""
        from genomix.parallel.checkpoint import put_in_place, read_numbers

        shared = _shared(path)
        with self.processes.first_alone() as is_first:
            if is_first:
                put_in_place(shared)
        return read_numbers(shared, required) if _is_newest(shared, path) else load_checkpoint(path, required)

    def complete(self, state: dict[str, Any], path: Path, model: nn.Module) -> dict[str, Any]:
        """Return what `numbers` gave, with its tensors; those of the model's parameters as they lie in it."""
        return self.load(path, state.keys(), model)

    def load(
        self, path: Path, required: Iterable[str] = (), model: nn.Module | None = None
    ) -> dict[str, Any]:
        """Return the state of a checkpoint, tensors of the model's parameters in their layout on the mesh."""
        from genomix.parallel.checkpoint import laid_out, load_sharded

        shared = _shared(path)
        if _is_newest(shared, path):
            return load_sharded(shared, required, model=model)
        state = load_checkpoint(path, required)
        return state if model is None else laid_out(state, model)

    def save(self, path: Path, state: Mapping[str, Any]) -> None:
        """Write a checkpoint, every rank what it holds; the folder is whole at every moment."""
        from genomix.parallel.checkpoint import save_sharded

        save_sharded(_shared(path), state, self.processes)
        if self.is_first:
            path.unlink(missing_ok=True)  # of one process that made an earlier part of the run

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors put together from what the ranks hold; the first gets them."""
        from genomix.parallel.checkpoint import whole_tensors

        return whole_tensors(tensors)

    def from_first(self, value: Any) -> Any:
        """Return what the first rank has."""
        return self.processes.from_first(value)


class _Watched(RunFolder):
    """The folder of a run for a rank that only reads it."""

    def prepare(self, config_yaml: str) -> None:
        """Leave it to the first rank."""

    def start_metrics(self, *, keep_up_to: int) -> None:
        """Leave it to the first rank."""

    def add_metrics(self, row: Mapping[str, float | int | str]) -> None:
        """Leave it to the first rank."""

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Leave it to the first rank."""


def _shared(path: Path) -> Path:
    """Return the folder that a mesh writes where one process writes a file: ``last`` for ``last.ckpt``."""
    return path.with_suffix("")


def _is_newest(shared: Path, path: Path) -> bool:
    """Return whether the checkpoint of a mesh is there, and the newest."""
    if not shared.is_dir():
        return False
    from genomix.parallel.checkpoint import STATE_FILE

    file = shared / STATE_FILE
    return not path.exists() or (file.exists() and file.stat().st_mtime >= path.stat().st_mtime)
