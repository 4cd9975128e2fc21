"""One Lightning fit, kept quiet, that stops at the end of a step when the process is told to stop."""

import logging
import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from genomix.training.config import TrainerConfig
from genomix.training.task import TrainingTask
from genomix_data.errors import ConfigError

_CHATTY = ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


def fit(
    task: TrainingTask,
    data: LightningDataModule,
    *,
    trainer: TrainerConfig,
    device: torch.device,
    on_step: Callable[[torch.Tensor], bool | None],
) -> int | None:
    """Train over all batches of ``data``, or until told to stop.

    Args:
        task: What is trained.
        data: Batches of this part of the run; Lightning sees them as one epoch.
        trainer: Settings.
        device: Where to train.
        on_step: Called after every optimizer step with the mean loss of its batches (on the device); training ends
            when it returns True.

    Returns:
        None when all was done or ``on_step`` ended it; the number of the signal that stopped it otherwise.
    """
    steps = _StepCallback(on_step, task.accumulate)
    with quiet_lightning():
        loop = Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            precision=precision(trainer, device),
            max_epochs=1,
            accumulate_grad_batches=task.accumulate,
            limit_val_batches=0,
            callbacks=[steps],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        task.train()
        try:
            loop.fit(task, datamodule=data)
        finally:
            steps.release_signals()
        # Lightning leaves the weights where it trained them or moves them to the CPU; be sure where they are.
        task.model.to(device)
    return steps.stopped_by


class _StepCallback(Callback):
    """Calls back after optimizer steps, and turns SIGINT and SIGTERM into an orderly stop."""

    def __init__(self, on_step: Callable[[torch.Tensor], bool | None], accumulate: int) -> None:
        self.on_step = on_step
        self.accumulate = accumulate
        self.stopped_by: int | None = None
        self._losses: list[torch.Tensor] = []
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals; only here, because Lightning sets handlers of its own before."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report a step when its last batch is done."""
        assert isinstance(pl_module, TrainingTask)
        pl_module.count_batch()
        self._losses.append(pl_module.loss)
        if len(self._losses) < self.accumulate:
            return
        loss = torch.stack(self._losses).mean()
        self._losses.clear()
        if self.on_step(loss) or self.stopped_by is not None:
            trainer.should_stop = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stopped_by is not None:  # asked twice: stop at once
            raise KeyboardInterrupt
        self.stopped_by = number

    def release_signals(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's banners, tips and warnings off the screen; errors still raise."""
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", message=r".*(num_workers|litlogger|isinstance\(treespec).*")
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Seed torch within the block, and give the caller's random state back afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def choose_device(trainer: TrainerConfig) -> torch.device:
    """Return where to train.

    Raises:
        ConfigError: if CUDA is asked for and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if trainer.device == "cuda" and not has_cuda:
        raise ConfigError(
            "trainer.device is cuda, but torch sees no CUDA device here (genomix doctor says why)."
        )
    return torch.device("cuda" if has_cuda and trainer.device != "cpu" else "cpu")


def precision(trainer: TrainerConfig, device: torch.device) -> Any:
    """Return Lightning's name of the precision: bf16-mixed on CUDA and 32-true elsewhere, unless one is chosen."""
    if trainer.precision != "auto":
        return trainer.precision
    return "bf16-mixed" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "32-true"


def check_finite(loss: float, step: int, lr: float) -> None:
    """Check that training has not blown up.

    Raises:
        ConfigError: if the loss is not a number.
    """
    if not math.isfinite(loss):
        raise ConfigError(
            f"the loss is {loss} at step {step:,} (learning rate {lr:.2g}). Lower optimizer.lr, lengthen "
            "schedule.warmup_fraction, or use trainer.precision=32-true."
        )
