"""The epochs of a fine-tuning run: train, validate, keep the best, stop when nothing improves."""

import time
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray

from genomix.heads.classifier import SequenceClassifier
from genomix.inference.predict import predict_probabilities
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.finetune_method import FullConfig
from genomix.training.loop import check_finite, fit
from genomix.training.metrics import classification_metrics, rank
from genomix.training.results import EpochPoint, LossPoint
from genomix.training.screen import Bar, Screen
from genomix.training.task import ClassifierTask
from genomix_data.datamodules import OrderedData
from genomix_data.table_dataset import LabelledSequences


class FinetuneLoop:
    """Trains a classifier and remembers the weights that were best on validation.

    Args:
        config: What to run.
        screen: Where to speak.
        model: A classifier on the device.
        train: Training sequences.
        valid_ids: Token ids of the validation sequences.
        valid_labels: Their class indices.
        class_names: Names of the classes.
        device: Where to train.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        screen: Screen,
        *,
        model: SequenceClassifier,
        train: LabelledSequences,
        valid_ids: Sequence[NDArray[np.uint8]],
        valid_labels: NDArray[np.int64],
        class_names: Sequence[str],
        device: torch.device,
    ) -> None:
        self.config = config
        self.screen = screen
        self.train = train
        self.valid_ids = valid_ids
        self.valid_labels = valid_labels
        self.class_names = class_names
        self.device = device
        trainer = config.trainer
        self.batches_per_epoch = -(-len(train) // config.data.batch_size)
        self.steps = max(1, trainer.max_epochs * self.batches_per_epoch // trainer.accumulate)
        self.task = ClassifierTask(
            model,
            optimizer=config.optimizer,
            schedule=config.schedule,
            total_steps=self.steps,
            accumulate=trainer.accumulate,
            clip=trainer.clip,
            seed=trainer.seed,
        )
        self.task.class_weights = config.loss.weights(train.labels, tuple(class_names))
        self.task.label_smoothing = config.loss.label_smoothing
        if isinstance(config.method, FullConfig):
            self.task.layer_lr_decay = config.method.layer_lr_decay
        self.model = model
        self.history: list[LossPoint] = []
        self.validation: list[EpochPoint] = []
        self.best: EpochPoint | None = None
        self.train_seconds = 0.0
        self._best_weights: dict[str, torch.Tensor] = {}
        self._losses: list[torch.Tensor] = []
        self._epoch_losses: list[torch.Tensor] = []
        self._epochs_done = 0
        self._shown = {"loss": "-"}
        self._mark = 0.0

    def run(self) -> int | None:
        """Train, then put the best weights into the model; return the signal that stopped it, if one did."""
        data, trainer = self.config.data, self.config.trainer
        batches = OrderedData(
            self.train,
            batch_size=data.batch_size,
            stop=self.steps * trainer.accumulate,
            num_workers=data.num_workers,
            pin_memory=self.device.type == "cuda",
        )
        with self.screen.bar("finetune", trainer.max_epochs, "epoch") as bar:
            self._mark = time.perf_counter()
            stopped_by = fit(
                self.task,
                batches,
                trainer=trainer,
                device=self.device,
                on_step=lambda loss: self._after_step(loss, bar),
            )
        if stopped_by is None:
            self.model.load_state_dict(self._best_weights)
        return stopped_by

    @property
    def n_seen(self) -> int:
        """Sequences seen in training, those of every epoch counted again."""
        return self.task.batch * self.config.data.batch_size

    @property
    def chosen(self) -> str:
        """What validation chose, in words."""
        assert self.best is not None
        return f"epoch {self.best.epoch} of {self.validation[-1].epoch}"

    def _after_step(self, loss: torch.Tensor, bar: Bar) -> bool:
        step, trainer = self.task.step, self.config.trainer
        is_last = step == self.steps
        self._losses.append(loss)
        self._epoch_losses.append(loss)
        if step % trainer.log_every == 0 or is_last:
            mean = float(torch.stack(self._losses).mean())
            check_finite(mean, step, self.task.lr)
            self.history.append(LossPoint(step=step, loss=mean, lr=self.task.lr))
            self._losses.clear()
            self._shown["loss"] = f"{mean:.3f}"
        self.train_seconds += time.perf_counter() - self._mark
        epoch = self.task.batch // self.batches_per_epoch
        stop = False
        if epoch > self._epochs_done or is_last:
            self._epochs_done = max(epoch, 1)
            stop = self._validate(self._epochs_done)
        bar.update(self._epochs_done, self._shown)
        self._mark = time.perf_counter()
        return stop

    def _validate(self, epoch: int) -> bool:
        """Score the validation set and return whether to stop."""
        trainer = self.config.trainer
        train_loss = float(torch.stack(self._epoch_losses).mean())
        check_finite(train_loss, self.task.step, self.task.lr)
        self._epoch_losses.clear()
        probabilities = predict_probabilities(
            self.model, self.valid_ids, self.train.tokenizer.pad_id, device=self.device
        )
        metrics = classification_metrics(probabilities, self.valid_labels, self.class_names)
        point = EpochPoint(epoch=epoch, step=self.task.step, train_loss=train_loss, metrics=metrics)
        self.validation.append(point)
        if self.best is None or rank(metrics, trainer.monitor) > rank(self.best.metrics, trainer.monitor):
            self.best = point
            self._best_weights = deepcopy(self.model.state_dict())
        self._shown |= {
            "valid acc": f"{metrics.accuracy:.3f}",
            "mcc": f"{metrics.mcc:.3f}",
            "best epoch": str(self.best.epoch),
        }
        return trainer.patience is not None and epoch - self.best.epoch >= trainer.patience
