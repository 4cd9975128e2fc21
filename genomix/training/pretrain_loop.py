"""The steps of a pretraining run: train, log, validate, save."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training.boards import open_boards
from genomix.training.config import PretrainConfig
from genomix.training.ema import WeightAverage
from genomix.training.feed import training_batches
from genomix.training.held_out import bits_per_base, score_batch_size
from genomix.training.loop import check_finite, fit
from genomix.training.machine_memory import is_out_of_memory
from genomix.training.metrics_log import MetricsLog, Row, on_its_way
from genomix.training.out_of_memory import keeping_less, telling_of_memory
from genomix.training.ranks import RunRanks
from genomix.training.results import RunInterruptedError
from genomix.training.run_checkpoints import RunCheckpoints
from genomix.training.run_folder import RunFolder
from genomix.training.screen import Bar, Screen
from genomix.training.stages import Stage
from genomix.training.task import LanguageModelTask
from genomix_data.lm_dataset import HeldOutWindows

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

OVERTIME = 1.1
"""A run with a budget of time ends early when it has taken so much more than it: the machine has become slower."""

SHOWN_EVERY_S = 0.1


class PretrainLoop:
    """Trains a model from a step to the end of the run.

    Args:
        config: What to run; ``trainer.max_steps`` is the length of the run.
        folder: Where logs and checkpoints go; it exists.
        screen: Where to speak.
        model: A language model on the device.
        stages: Training windows.
        valid: Validation windows.
        device: Where to train.
        fingerprints: Of the FASTA files; a resumed run checks them.
        state: What a checkpoint of this run held; None for a new run.
        ranks: The processes that make the run; they have taken the model.

    Attributes:
        ended: Why training ended before its last step; empty if it did not.
    """

    def __init__(
        self,
        config: PretrainConfig,
        folder: RunFolder,
        screen: Screen,
        *,
        model: HyenaDNA | StripedHyena2,
        stages: Sequence[Stage],
        valid: HeldOutWindows,
        device: torch.device,
        fingerprints: Sequence[dict[str, Any]],
        state: dict[str, Any] | None,
        ranks: RunRanks | None = None,
    ) -> None:
        self.config = config
        self.ranks = ranks or RunRanks()
        self.folder = folder
        self.screen = screen
        self.stages = tuple(stages)
        self.valid = valid
        self.device = device
        self.fingerprints = list(fingerprints)
        state = state or {}
        trainer = config.trainer
        self.model = model
        self.task = LanguageModelTask.of_run(
            config,
            model,
            start_step=state.get("step", 0),
            optimizer_state=state.get("optimizer"),
            ranks=self.ranks,
        )
        self.average = (
            None
            if trainer.ema_decay is None
            else WeightAverage(model, trainer.ema_decay, state.get("average"))
        )
        self.ended = still_ended(config, state)
        self.best_bits: float = state.get("best_bits", math.inf)
        self.train_seconds: float = state.get("train_seconds", 0.0)
        self._since_best: int = state.get("since_best", 0)
        self._checkpoints = RunCheckpoints(folder, self.ranks, trainer.keep_checkpoints)
        boards = open_boards(config, folder, start_step=self.task.step) if self.ranks.is_first else []
        self._log = MetricsLog(folder, boards)
        # The sum stays on the device, so that only the rows of the log wait for it.
        self._loss_sum = torch.tensor(state.get("loss_sum", 0.0), dtype=torch.float64, device=device)
        self._loss_count: int = state.get("loss_count", 0)
        self._shown: dict[str, str] = {}
        self._shown_at = 0.0
        self._mark = 0.0
        self._row_seconds, self._row_tokens = 0.0, 0

    @property
    def epochs(self) -> float:
        """Passes over the training windows so far."""
        return sum(
            self._steps_of(stage) * self.config.trainer.accumulate / stage.batches_per_epoch
            for stage in self.stages
        )

    @property
    def tokens(self) -> int:
        """Target tokens of all steps so far, had all batches been full."""
        return sum(self._steps_of(stage) * self._tokens_per_step(stage) for stage in self.stages)

    def run(self) -> None:
        """Train to the last step.

        Raises:
            RunInterruptedError: after SIGINT or SIGTERM; the last whole step is saved.
            NotEnoughMemoryError: if a batch does not fit, and nothing that is kept of it can be left out.
        """
        max_steps = self.config.trainer.max_steps
        with self.screen.bar("pretrain", max_steps, "step", done=self.task.step) as bar:
            for stage in self.stages:
                stop = stage.stop(max_steps)
                if self.task.step >= stop or self.ended:
                    continue
                stopped_by = self._run_stage(stage, stop, bar)
                if stopped_by is not None and self.task.step < max_steps:
                    self._save()
                    self._log.close()
                    raise RunInterruptedError(self.folder.path, self.task.step, max_steps, stopped_by)
        self._log.close()

    def take_last(self) -> None:
        """Put the weights that validation looks at into the model: those of the last step, or their average."""
        if self.average is not None:
            self.average.take()

    def _run_stage(self, stage: Stage, stop: int, bar: Bar) -> int | None:
        return keeping_less(
            lambda: self._fit(stage, stop, bar),
            self.config,
            self.model,
            self.device,
            lambda text: self.screen.say(text, style="yellow"),
            n_processes=self.ranks.n,
        )

    def _fit(self, stage: Stage, stop: int, bar: Bar) -> int | None:
        trainer = self.config.trainer
        batches = training_batches(
            self.config,
            stage,
            self.device,
            start=(self.task.step - stage.first_step) * trainer.accumulate,
            stop=(stop - stage.first_step) * trainer.accumulate,
            part=self.ranks.batch_part,
            n_parts=self.ranks.n_batch_parts,
        )
        self._mark = time.perf_counter()
        try:
            stopped_by = fit(
                self.task,
                batches,
                trainer=trainer,
                device=self.device,
                on_step=lambda loss: self._after_step(loss, stage, bar),
                agree=self.ranks.agree,
            )
        except RuntimeError as error:
            if is_out_of_memory(error):
                self._keep_optimizer()  # whoever goes on with less does so after the last whole step
            raise
        self._keep_optimizer()
        return stopped_by

    def _keep_optimizer(self) -> None:
        """Let the next fit, which makes an optimizer of its own, go on where this one's is."""
        optimizer = self.task.optimizers(use_pl_optimizer=False)
        if isinstance(optimizer, torch.optim.Optimizer):  # none, if there was no room for the model
            self.task.optimizer_state = optimizer.state_dict()
        self.task.batch = self.task.step * self.config.trainer.accumulate

    def _after_step(self, loss: torch.Tensor, stage: Stage, bar: Bar) -> bool:
        step, trainer = self.task.step, self.config.trainer
        is_last = step == trainer.max_steps
        self._loss_sum += loss
        self._loss_count += 1
        self._row_tokens += self._tokens_per_step(stage)
        if self.average is not None:
            self.average.update(step - 1)
        self._take_time()
        if step % trainer.log_every == 0 or is_last:
            self._add_row()
        if step % trainer.validation_interval == 0 or is_last or self.ended:
            self._validate()
        is_over = is_last or bool(self.ended)
        if step % trainer.checkpoint_every == 0 or is_over:
            self._save()
        now = time.perf_counter()
        if is_over or now - self._shown_at >= SHOWN_EVERY_S:
            bar.update(step, self._shown)
            self._shown_at = now
        self._mark = time.perf_counter()
        return bool(self.ended)

    def _take_time(self) -> None:
        now = time.perf_counter()
        self.train_seconds += now - self._mark
        self._row_seconds += now - self._mark
        self._mark = now

    def _wait_for_device(self) -> None:
        """Let the device finish its steps, so that they count as training and not as what comes next."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._take_time()

    def _add_row(self) -> None:
        task = self.task
        sums = torch.stack([self._loss_sum, task.grad_norm.to(self._loss_sum)])
        there, arrived = on_its_way(sums)
        row = Row(
            step=task.step,
            epoch=self.epochs,
            lr=task.lr,
            tokens_per_second=self._row_tokens / max(self._row_seconds, 1e-9),
            n=self._loss_count,
            sums=there,
            arrived=arrived,
        )
        self._show(self._log.add(row, now=self.device.type != "cuda"))
        self._loss_sum.zero_()
        self._loss_count, self._row_tokens, self._row_seconds = 0, 0, 0.0
        budget = self.config.trainer.max_seconds
        if budget is not None and self.train_seconds > OVERTIME * budget:
            self.ended = f"after {self.train_seconds:.0f} s, trainer.max_seconds={budget:g} being over"

    def _show(self, written: dict[str, float]) -> None:
        """Show the numbers of a row that was written, once they are known to be numbers."""
        if written:
            check_finite(written["loss"], int(written["step"]), written["lr"])
            self._shown = {
                "loss": f"{written['loss']:.3f}",
                "bits/base": f"{written['bits_per_base']:.3f}",
                "tok/s": f"{written['tokens_per_second']:,.0f}",
            }

    def _validate(self) -> None:
        self._wait_for_device()
        self._show(self._log.flush())
        data, trainer, step = self.config.data, self.config.trainer, self.task.step
        with self.average.applied() if self.average is not None else nullcontext():
            # a step whose validation does not fit is not one to be made again with less
            with telling_of_memory(self.config, self.model, self.device, n_processes=self.ranks.n):
                score = bits_per_base(
                    self.model,
                    self.valid,
                    batch_size=self.ranks.n_batch_parts
                    * score_batch_size(data.batch_size, data.seqlen, self.model.config.d_model, self.device),
                    device=self.device,
                    precision=trainer.score_precision,
                    ranks=self.ranks,
                )
            bits = score.bits_per_base
            is_best = bits < self.best_bits
            if is_best:
                self.best_bits = bits
                self._checkpoints.save_best({"step": step, "model": self.model.state_dict()})
        self._since_best = 0 if is_best else self._since_best + 1
        self._log.add_validation(step, self.epochs, bits)
        mark = "  best so far" if is_best else ""
        self.screen.say(f"  step {step:>7,}   validation {bits:.4f} bits/base{mark}", style="dim")
        if trainer.patience is not None and self._since_best >= trainer.patience and step < trainer.max_steps:
            self.ended = f"after {self._since_best} validations without a new best"

    def _save(self) -> None:
        self._wait_for_device()
        self._show(self._log.flush())
        loss_sum = float(self._loss_sum)
        check_finite(loss_sum, self.task.step, self.task.lr)
        self._checkpoints.save(
            {
                "step": self.task.step,
                "max_steps": self.config.trainer.max_steps,
                "max_seconds": self.config.trainer.max_seconds,
                "ended": self.ended,
                "model": self.model.state_dict(),
                "optimizer": self._optimizer().state_dict(),
                "average": self.average.state_dict() if self.average is not None else None,
                "fingerprints": self.fingerprints,
                "best_bits": self.best_bits,
                "since_best": self._since_best,
                "train_seconds": self.train_seconds,
                "loss_sum": loss_sum,
                "loss_count": self._loss_count,
            },
        )

    def _optimizer(self) -> torch.optim.Optimizer:
        optimizer = self.task.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return optimizer

    def _steps_of(self, stage: Stage) -> int:
        stop = stage.stop(self.config.trainer.max_steps)
        return max(0, min(self.task.step, stop) - stage.first_step)

    def _tokens_per_step(self, stage: Stage) -> int:
        return stage.tokens_per_batch * self.config.trainer.accumulate


def still_ended(config: PretrainConfig, state: Mapping[str, Any]) -> str:
    """Return why a run had ended before its last step, if it had and what ended it was not raised; empty otherwise."""
    patience, budget = config.trainer.patience, config.trainer.max_seconds
    is_patience_over = patience is not None and state.get("since_best", 0) >= patience
    is_budget_over = budget is not None and state.get("train_seconds", 0.0) > OVERTIME * budget
    return str(state.get("ended", "")) if is_patience_over or is_budget_over else ""
