"""A Lightning data module whose batches depend on their number only."""

import signal
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from genomix_data.errors import ConfigError
from genomix_data.sampler import EpochBatches


class OrderedDataset(Protocol):
    """Samples by the running number of `genomix_data.sampler`: `TrainingWindows`, `LabelledSequences`."""

    def __len__(self) -> int:
        """Return the number of samples in an epoch."""
        ...

    def __getitem__(self, number: int) -> Any:
        """Return sample ``number`` of an endless run; of a negative number, one that does not count."""
        ...

    def collate(self, samples: Sequence[Any]) -> Any:
        """Return samples as one batch."""
        ...


class OrderedData(LightningDataModule):
    """Batches ``start`` to ``stop`` of a run, whatever was loaded before; and held-out batches, each sample once.

    Further epochs of the same Lightning fit go on with one epoch of samples each.

    Args:
        dataset: The training samples.
        batch_size: Samples in a batch, of all ranks together; the last batch of an epoch may be smaller.
        start: First batch (0-based, from the beginning of the run).
        stop: First batch not to load; by default the end of the epoch that ``start`` lies in.
        valid: Validation samples, in their own order.
        test: Test samples, in their own order.
        num_workers: Loading processes; 0 loads in the training process.
        pin_memory: Keep batches in page-locked memory, for a GPU.
        rank: This process among ``world_size``; by default as Lightning's trainer has it, or the only one.
        world_size: Processes that share each batch.
    """

    def __init__(
        self,
        dataset: OrderedDataset,
        *,
        batch_size: int,
        start: int = 0,
        stop: int | None = None,
        valid: OrderedDataset | None = None,
        test: OrderedDataset | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.valid = valid
        self.test = test
        self.batch_size = batch_size
        self.start = start
        per_epoch = -(-len(dataset) // batch_size)
        self.stop = (start // per_epoch + 1) * per_epoch if stop is None else stop
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self._rank = rank
        self._world_size = world_size

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the batches from ``start`` on."""
        return self._loader(self.dataset, self._batches(self.dataset, self.start, self.stop))

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation samples, each once.

        Raises:
            ConfigError: if there are none.
        """
        return self._whole(self.valid, "validation")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test samples, each once.

        Raises:
            ConfigError: if there are none.
        """
        return self._whole(self.test, "test")

    def _whole(self, dataset: OrderedDataset | None, name: str) -> DataLoader[Any]:
        if dataset is None:
            raise ConfigError(f"these data have no {name} samples; give them when the data module is made.")
        batches = self._batches(dataset, 0, -(-len(dataset) // self.batch_size))
        return self._loader(dataset, list(batches))  # a list: the same in every epoch

    def _batches(self, dataset: OrderedDataset, start: int, stop: int) -> EpochBatches:
        trainer = self.trainer
        rank = self._rank if self._rank is not None else trainer.global_rank if trainer else 0
        world_size = (
            self._world_size if self._world_size is not None else trainer.world_size if trainer else 1
        )
        return EpochBatches(
            len(dataset), self.batch_size, start=start, stop=stop, rank=rank, world_size=world_size
        )

    def _loader(self, dataset: OrderedDataset, batches: Iterable[list[int]]) -> DataLoader[Any]:
        return DataLoader(
            dataset,  # type: ignore[arg-type]  # torch asks for its own base class
            batch_sampler=batches,
            collate_fn=dataset.collate,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            worker_init_fn=_leave_signals_to_the_parent if self.num_workers else None,
        )


def _leave_signals_to_the_parent(worker: int) -> None:
    """Let Ctrl-C, which a terminal sends to every process, end a step in the parent and not its worker."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
