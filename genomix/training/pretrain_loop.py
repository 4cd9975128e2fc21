"""The steps of a pretraining run: train, log, validate, save."""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch

from genomix.training.config import PretrainConfig
from genomix.training.held_out import bits_per_base
from genomix.training.loop import check_finite, fit
from genomix.training.results import RunInterruptedError
from genomix.training.run_folder import RunFolder, load_checkpoint, save_checkpoint
from genomix.training.screen import Bar, Screen
from genomix.training.task import LanguageModelTask
from genomix_data.datamodules import OrderedData
from genomix_data.lm_dataset import HeldOutWindows, TrainingWindows

STATE_KEYS = (
    "step",
    "model",
    "optimizer",
    "fingerprints",
    "best_bits",
    "train_seconds",
    "loss_sum",
    "loss_count",
)


class PretrainLoop:
    """Trains a model from a step to the end of the run.

    Args:
        config: What to run.
        folder: Where logs and checkpoints go; it exists.
        screen: Where to speak.
        model: A language model on the device.
        windows: Training windows.
        valid: Validation windows.
        device: Where to train.
        fingerprints: Of the FASTA files; a resumed run checks them.
        state: What a checkpoint of this run held; None for a new run.
    """

    def __init__(
        self,
        config: PretrainConfig,
        folder: RunFolder,
        screen: Screen,
        *,
        model: torch.nn.Module,
        windows: TrainingWindows,
        valid: HeldOutWindows,
        device: torch.device,
        fingerprints: Sequence[dict[str, Any]],
        state: dict[str, Any] | None,
    ) -> None:
        self.config = config
        self.folder = folder
        self.screen = screen
        self.windows = windows
        self.valid = valid
        self.device = device
        self.fingerprints = list(fingerprints)
        state = state or {}
        self.task = LanguageModelTask(
            model,
            optimizer=config.optimizer,
            schedule=config.schedule,
            total_steps=config.trainer.max_steps,
            accumulate=config.trainer.accumulate,
            clip=config.trainer.clip,
            seed=config.trainer.seed,
            start_step=state.get("step", 0),
            optimizer_state=state.get("optimizer"),
        )
        self.task.soft_mask_loss = config.data.soft_mask_loss
        self.best_bits: float = state.get("best_bits", math.inf)
        self.train_seconds: float = state.get("train_seconds", 0.0)
        # The sum stays on the device, so that only the rows of the log wait for it.
        self._loss_sum = torch.tensor(state.get("loss_sum", 0.0), dtype=torch.float64, device=device)
        self._loss_count: int = state.get("loss_count", 0)
        self._shown: dict[str, str] = {}
        self._mark = 0.0
        self._row_seconds, self._row_steps = 0.0, 0

    @property
    def epochs(self) -> float:
        """Passes over the training windows so far."""
        batches = -(-len(self.windows) // self.config.data.batch_size)
        return self.task.step * self.config.trainer.accumulate / batches

    @property
    def tokens_per_step(self) -> int:
        """Target tokens of a step of full batches."""
        data = self.config.data
        return min(data.batch_size, len(self.windows)) * data.seqlen * self.config.trainer.accumulate

    def run(self) -> None:
        """Train to the last step.

        Raises:
            RunInterruptedError: after SIGINT or SIGTERM; the last whole step is saved.
        """
        trainer, data = self.config.trainer, self.config.data
        batches = OrderedData(
            self.windows,
            batch_size=data.batch_size,
            start=self.task.step * trainer.accumulate,
            stop=trainer.max_steps * trainer.accumulate,
            num_workers=data.num_workers,
            pin_memory=self.device.type == "cuda",
        )
        with self.screen.bar("pretrain", trainer.max_steps, "step", done=self.task.step) as bar:
            self._mark = time.perf_counter()
            stopped_by = fit(
                self.task,
                batches,
                trainer=trainer,
                device=self.device,
                on_step=lambda loss: self._after_step(loss, bar),
            )
        if stopped_by is not None and self.task.step < trainer.max_steps:
            self._save()
            raise RunInterruptedError(self.folder.path, self.task.step, trainer.max_steps, stopped_by)

    def _after_step(self, loss: torch.Tensor, bar: Bar) -> None:
        step, trainer = self.task.step, self.config.trainer
        is_last = step == trainer.max_steps
        self._loss_sum += loss
        self._loss_count += 1
        self._row_steps += 1
        if step % trainer.log_every == 0 or is_last:
            self._add_row()
        else:
            self._take_time()
        if step % trainer.validation_interval == 0 or is_last:
            self._validate()
        if step % trainer.checkpoint_every == 0 or is_last:
            self._save()
        bar.update(step, self._shown)
        self._mark = time.perf_counter()

    def _take_time(self) -> None:
        now = time.perf_counter()
        self.train_seconds += now - self._mark
        self._row_seconds += now - self._mark
        self._mark = now

    def _add_row(self) -> None:
        task = self.task
        mean = float(self._loss_sum) / self._loss_count
        self._take_time()
        check_finite(mean, task.step, task.lr)
        speed = self._row_steps * self.tokens_per_step / max(self._row_seconds, 1e-9)
        bits = mean / math.log(2)
        self.folder.add_metrics(
            {
                "step": task.step,
                "epoch": f"{self.epochs:.4f}",
                "loss": repr(mean),
                "bits_per_base": f"{bits:.6f}",
                "lr": repr(task.lr),
                "grad_norm": f"{float(task.grad_norm):.6g}",
                "tokens_per_second": f"{speed:.0f}",
            }
        )
        self._shown = {"loss": f"{mean:.3f}", "bits/base": f"{bits:.3f}", "tok/s": f"{speed:,.0f}"}
        self._loss_sum.zero_()
        self._loss_count, self._row_steps, self._row_seconds = 0, 0, 0.0

    def _validate(self) -> None:
        data, step = self.config.data, self.task.step
        score = bits_per_base(self.task.model, self.valid, batch_size=data.batch_size, device=self.device)
        bits = score.bits_per_base
        is_best = bits < self.best_bits
        if is_best:
            self.best_bits = bits
            save_checkpoint(self.folder.best, {"step": step, "model": self.task.model.state_dict()})
        self.folder.add_metrics(
            {"step": step, "epoch": f"{self.epochs:.4f}", "valid_bits_per_base": repr(bits)}
        )
        mark = "  best so far" if is_best else ""
        self.screen.say(f"  step {step:>7,}   validation {bits:.4f} bits/base{mark}", style="dim")

    def _save(self) -> None:
        task = self.task
        optimizer = task.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        save_checkpoint(
            self.folder.last,
            {
                "step": task.step,
                "model": task.model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "fingerprints": self.fingerprints,
                "best_bits": self.best_bits,
                "train_seconds": self.train_seconds,
                "loss_sum": float(self._loss_sum),
                "loss_count": self._loss_count,
            },
        )


def load_state(folder: RunFolder) -> dict[str, Any]:
    """Return the state of the last checkpoint of a run.

    Raises:
        CheckpointError: if there is none, or it is damaged.
    """
    return load_checkpoint(folder.last, STATE_KEYS)
