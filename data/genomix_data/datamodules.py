"""A Lightning data module whose batches depend on their number only."""

from collections.abc import Sequence
from typing import Any, Protocol

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from genomix_data.sampler import EpochBatches


class OrderedDataset(Protocol):
    """Samples by the running number of `genomix_data.sampler`: `TrainingWindows`, `LabelledSequences`."""

    def __len__(self) -> int:
        """Return the number of samples in an epoch."""
        ...

    def __getitem__(self, number: int) -> Any:
        """Return sample ``number`` of an endless run."""
        ...

    def collate(self, samples: Sequence[Any]) -> Any:
        """Return samples as one batch."""
        ...


class OrderedData(LightningDataModule):
    """Batches ``start`` to ``stop`` of a run, whatever was loaded before.

    Args:
        dataset: The samples.
        batch_size: Samples in a batch; the last batch of an epoch may be smaller.
        start: First batch (0-based, from the beginning of the run).
        stop: First batch not to load.
        num_workers: Loading processes; 0 loads in the training process.
        pin_memory: Keep batches in page-locked memory, for a GPU.
    """

    def __init__(
        self,
        dataset: OrderedDataset,
        *,
        batch_size: int,
        start: int = 0,
        stop: int,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.batches = EpochBatches(len(dataset), batch_size, start=start, stop=stop)
        self.num_workers = num_workers
        self.pin_memory = pin_memory

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the batches from ``start`` on."""
        return DataLoader(
            self.dataset,  # type: ignore[arg-type]  # torch asks for its own base class
            batch_sampler=self.batches,
            collate_fn=self.dataset.collate,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
        )
