"""How batches come to a pretraining step: from the windows of a stage, by loading processes and page-locked memory."""

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from genomix.provenance import usable_cores
from genomix.training.config import PretrainConfig
from genomix.training.stages import Stage
from genomix_data.datamodules import OrderedData
from genomix_data.lm_batch import LMBatch

ENDLESS = 1 << 40
"""A number of batches that no run reaches."""


def training_batches(
    config: PretrainConfig,
    stage: Stage,
    device: torch.device,
    *,
    start: int = 0,
    stop: int = ENDLESS,
    part: int = 0,
    n_parts: int = 1,
) -> OrderedData:
    """Return the batches of a stage as a run is fed with them.

    Args:
        config: What to run.
        stage: Which windows, and how many of them are a batch.
        device: Where it trains; for a GPU batches are made ready in page-locked memory.
        start: First batch (0-based, from the beginning of the stage).
        stop: First batch not to load.
        part: Which part of each batch, of ``n_parts``.
        n_parts: Processes that share each batch.
    """
    return OrderedData(
        stage.windows,
        batch_size=stage.batch_size,
        start=start,
        stop=stop,
        num_workers=n_workers(config, device),
        pin_memory=device.type == "cuda",
        rank=part,
        world_size=n_parts,
    )


def n_workers(config: PretrainConfig, device: torch.device) -> int:
    """Return how many processes load data: as set, or none for a CPU and enough for a GPU."""
    if config.data.num_workers is not None:
        return config.data.num_workers
    # One makes some hundred million tokens a second ready; the second is there while the first waits.
    return min(2, usable_cores() - 1) if device.type == "cuda" else 0


class SameBatch(LightningDataModule):
    """The same batch over and over.

    Args:
        batch: On any device; one that is where the model is has no way to go.
        n: How often.
        pin_memory: Copy it to page-locked memory each time, as `training_batches` does for a GPU.
    """

    def __init__(self, batch: LMBatch, n: int, *, pin_memory: bool = False) -> None:
        super().__init__()
        self._batches = _Repeated(batch, n)
        self._pin_memory = pin_memory

    def train_dataloader(self) -> "DataLoader[LMBatch]":
        """Return all of them."""
        return DataLoader(self._batches, batch_size=None, pin_memory=self._pin_memory)  # type: ignore[arg-type]


class _Repeated:
    def __init__(self, batch: LMBatch, n: int) -> None:
        self._batch = batch
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, number: int) -> LMBatch:
        return self._batch
