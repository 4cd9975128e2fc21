"""One Lightning fit, kept quiet, that stops at the end of a step when the process is told to stop."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from genomix.training.config import TrainerConfig
from genomix.training.device import check_finite as check_finite
from genomix.training.device import choose_device as choose_device
from genomix.training.device import own_random_state as own_random_state
from genomix.training.device import precision as precision
from genomix.training.task import TrainingTask

_CHATTY = ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


def fit(
    task: TrainingTask,
    data: LightningDataModule,
    *,
    trainer: TrainerConfig,
    device: torch.device,
    on_step: Callable[[torch.Tensor], bool | None],
    agree: Callable[[int], int] = int,
) -> int | None:
    """Train over all batches of ``data``, or until told to stop.

    Args:
        task: What is trained.
        data: Batches of this part of the run; Lightning sees them as one epoch.
        trainer: Settings.
        device: Where to train.
        on_step: Called after every optimizer step with the mean loss of its batches (on the device); training ends
            when it returns True.
        agree: Returns the largest of a number that each process of a run has: all of them stop after the same step.

    Returns:
        None when all was done or ``on_step`` ended it; the number of the signal that stopped it otherwise.
    """
    steps = _StepCallback(on_step, task.accumulate, agree)
    steps.note_signals()
    with quiet_lightning():
        loop = Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1 if device.index is None else [device.index],
            # processes that train together find each other without it
            plugins=[_Alone()],
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
            task.release()
            # Lightning leaves the weights where it trained them or moves them to the CPU; be sure where they are.
            task.model.to(device)
    return steps.stopped_by


class _Alone(LightningEnvironment):
    """What Lightning is told: that this process is the only one, whoever has started it."""

    @property
    def creates_processes_externally(self) -> bool:
        """Return that it has nothing to start."""
        return True

    def local_rank(self) -> int:
        """Return the number of this process on its machine."""
        return 0


class _StepCallback(Callback):
    """Calls back after optimizer steps, and turns SIGINT and SIGTERM into an orderly stop."""

    def __init__(
        self, on_step: Callable[[torch.Tensor], bool | None], accumulate: int, agree: Callable[[int], int]
    ) -> None:
        self.on_step = on_step
        self.agree = agree
        self.accumulate = accumulate
        self.stopped_by: int | None = None
        self._losses: list[torch.Tensor] = []
        self._before: dict[int, Any] = {}

    def note_signals(self) -> None:
        """Note who has the signals, before Lightning sets handlers of its own.

        Lightning's know their trainer: given back, they would keep it, with all that it has on the GPU, for good.
        """
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals; only here, because Lightning has set its handlers just before."""
        for number in self._before:
            signal.signal(number, self._on_signal)

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
        is_over = self.on_step(loss)
        self.stopped_by = self.agree(self.stopped_by or 0) or None
        if is_over or self.stopped_by is not None:
            trainer.should_stop = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stopped_by is not None:  # asked twice: stop at once
            raise KeyboardInterrupt
        self.stopped_by = number

    def release_signals(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._before.items():
            if handler is not None:  # one that Python has not set, and cannot set
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
