"""The epochs of a fine-tuning run: train, validate, keep the best, stop when nothing improves.

A loop of its own, because small models are bound by what the host does for each step: the tokens lie on the device,
the order of an epoch goes there once, and nothing is read back before the epoch is over.
"""

import contextlib
import time
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genomix.adapters.lora import LowRankUpdate
from genomix.heads.build import HeadModel
from genomix.heads.sequence_model import SequenceModel
from genomix.inference.examples import Batch, Examples
from genomix.inference.head_scores import all_scores
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.training.device import check_finite, precision, seed_device
from genomix.training.finetune_config import FinetuneConfig
from genomix.training.finetune_method import FullConfig
from genomix.training.graphed_loss import GraphedLoss
from genomix.training.metrics import Metrics, rank
from genomix.training.objectives import Objective
from genomix.training.optim import layer_lr_scale, parameter_groups
from genomix.training.results import EpochPoint, LossPoint
from genomix.training.schedule import learning_rate
from genomix.training.screen import Screen
from genomix_data.errors import ConfigError
from genomix_data.sampler import mix64
from genomix_data.table_dataset import SampleOrder

_DROPOUT = 7  # keeps the seeds of dropout apart from those of the data


class FinetuneLoop:
    """Trains a model with a head and remembers the weights that were best on validation.

    Args:
        config: What to run.
        screen: Where to speak.
        model: On the device.
        objective: What it is trained for.
        train: Training sequences; with their reverse complements, if ``data.rc_augment``.
        targets: What the objective made of their labels.
        valid: Validation sequences.
        valid_truth: What the objective compares their scores with.
        device: Where to train.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        screen: Screen,
        *,
        model: HeadModel,
        objective: Objective,
        train: Examples,
        targets: Tensor,
        valid: Examples,
        valid_truth: NDArray[Any],
        device: torch.device,
    ) -> None:
        self.config = config
        self.screen = screen
        self.model = model
        self.objective = objective
        self.train = train
        self.targets = targets.to(device)
        self.valid = valid
        self.valid_truth = valid_truth
        self.device = device
        trainer = config.trainer
        n_batches = trainer.max_epochs * -(-train.n // config.data.batch_size)
        self.steps = n_batches // trainer.accumulate
        if not self.steps:
            raise ConfigError(
                f"trainer.accumulate is {trainer.accumulate}, but the whole run has {n_batches:,} batches, so that not "
                "one step would be made. Lower it, or raise trainer.max_epochs."
            )
        self.history: list[LossPoint] = []
        self.validation: list[EpochPoint[Any]] = []
        self.best: EpochPoint[Any] | None = None
        self.train_seconds = 0.0
        self.n_seen = 0
        self._best_weights: dict[str, Tensor] = {}
        self._order = SampleOrder(train.n, trainer.seed, config.data.rc_augment)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        decay = config.method.layer_lr_decay if isinstance(config.method, FullConfig) else 1.0
        groups = parameter_groups(
            model,
            config.optimizer.lr,
            config.optimizer.weight_decay,
            lambda name: layer_lr_scale(name, model.config.n_layers, decay),
        )
        self._peak_rates = [float(group["lr"]) for group in groups]
        self._optimizer = torch.optim.AdamW(
            groups,
            lr=config.optimizer.lr,
            betas=config.optimizer.betas_for(model.config),
            eps=config.optimizer.eps,
            fused=device.type == "cuda",
        )
        self._has_dropout = _has_dropout(model)
        self._graphed = GraphedLoss(self._even_loss, model) if self._can_be_graphed() else None
        self._step = 0
        self._batch = 0
        self._losses: list[Tensor] = []

    def run(self) -> None:
        """Train, then put the best weights into the model; an interrupt raises as usual."""
        trainer = self.config.trainer
        with self.screen.bar("finetune", trainer.max_epochs, "epoch") as bar:
            for epoch in range(1, trainer.max_epochs + 1):
                started = time.perf_counter()
                self.model.train()
                self._epoch(epoch - 1)
                train_loss = self._read_losses()
                self.train_seconds += time.perf_counter() - started
                point = self._validate(epoch, train_loss)
                assert self.best is not None
                shown = {"loss": f"{train_loss:.3f}", **_shown(point.metrics, self.config.monitor)}
                bar.update(epoch, {**shown, "best epoch": str(self.best.epoch)})
                if trainer.patience is not None and epoch - self.best.epoch >= trainer.patience:
                    break
        self.model.load_state_dict(self._best_weights)

    @property
    def chosen(self) -> str:
        """What validation chose, in words."""
        assert self.best is not None
        return f"epoch {self.best.epoch} of {self.validation[-1].epoch}"

    def _epoch(self, epoch: int) -> None:
        """Make the steps of an epoch (0-based)."""
        size, accumulate = self.config.data.batch_size, self.config.trainer.accumulate
        index, is_reverse = self._order.locate_epoch(epoch)
        rows = index + self.train.n * is_reverse
        places = self.train.locate(rows)
        target_places = places.to(self.device)
        for first in range(0, len(rows), size):
            if self._step == self.steps:
                return
            here = slice(first, first + size)
            width, is_even = self.train.extent(rows[here])
            if self._has_dropout:
                seed_device(mix64(self.config.trainer.seed, self._batch, _DROPOUT) >> 1, self.device)
            batch = self.train.batch(places[here], width, is_even=is_even)
            loss = self._loss_of(batch, self.targets[target_places[here]])
            torch.autograd.backward(loss / accumulate if accumulate > 1 else loss)
            self._losses.append(loss.detach().clone())  # a graph writes each loss to the same place
            self.n_seen += len(batch.ids)
            self._batch += 1
            if self._batch % accumulate == 0:
                self._update()

    def _can_be_graphed(self) -> bool:
        # A graph is of one shape; and with several batches a step, the gradients of one would overwrite the other's.
        trainer, widths = self.config.trainer, self.train.widths
        if trainer.cuda_graphs and not isinstance(self.model.config, StripedHyena2Config):
            raise ConfigError(
                "trainer.cuda_graphs=true is for StripedHyena 2; this model is a HyenaDNA. Leave it out."
            )
        is_uniform = int(widths.min()) == int(widths.max())
        is_full = isinstance(self.config.method, FullConfig)
        return trainer.cuda_graphs and is_full and is_uniform and trainer.accumulate == 1

    def _loss_of(self, batch: Batch, targets: Tensor) -> Tensor:
        with self._autocast():
            # A last smaller batch would cost the graph of all others.
            is_full = batch.lengths is None and len(batch.ids) == self.config.data.batch_size
            if self._graphed is not None and is_full:
                return self._graphed(batch.ids.contiguous(), targets)
            return self.objective.loss(self.model(*batch), targets)

    def _even_loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        return self.objective.loss(self.model(ids, None), targets)

    def _update(self) -> None:
        config = self.config
        if config.trainer.clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, config.trainer.clip)
        for group, peak in zip(self._optimizer.param_groups, self._peak_rates, strict=True):
            group["lr"] = learning_rate(
                self._step, peak, config.schedule, config.schedule.total_steps or self.steps
            )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._step += 1

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if precision(self.config.trainer, self.device) != "bf16-mixed":
            return contextlib.nullcontext()
        # Weights are cast anew in each step in any case, and a graph cannot use what is kept.
        return torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=self._graphed is None)

    def _read_losses(self) -> float:
        """Return the mean loss of the epoch, and add it to the history; the only wait for the device."""
        losses = torch.stack(self._losses).float().cpu().numpy()
        self._losses.clear()
        accumulate, every = self.config.trainer.accumulate, self.config.trainer.log_every
        first = self._step - len(losses) // accumulate
        for place in range(0, len(losses), every * accumulate):
            some = losses[place : place + every * accumulate]
            step = min(first + (place + len(some)) // accumulate, self._step)
            rate = learning_rate(
                max(step - 1, 0),
                self.config.optimizer.lr,
                self.config.schedule,
                self.config.schedule.total_steps or self.steps,
            )
            check_finite(float(some.mean()), step, rate)
            self.history.append(LossPoint(step=step, loss=float(some.mean()), lr=rate))
        return float(losses.mean())

    def _validate(self, epoch: int, train_loss: float) -> EpochPoint[Any]:
        """Score the validation set, and keep the weights if they are the best so far."""
        scores = all_scores(self.model, self.valid, both_strands=self.config.head.both_strands)
        # the last step of an epoch may be the one that ruins the weights, after its loss was found
        wrong = scores[~np.isfinite(scores)]
        if wrong.size:
            rate = self.history[-1].lr
            check_finite(
                float(wrong[0]), self._step, rate, what="the model's output for a validation sequence"
            )
        metrics = self.objective.metrics(self.objective.own_scale(scores), self.valid_truth)
        point = EpochPoint(epoch=epoch, step=self._step, train_loss=train_loss, metrics=metrics)
        self.validation.append(point)
        monitor = self.config.monitor
        if self.best is None or rank(metrics, monitor) > rank(self.best.metrics, monitor):
            self.best = point
            self._best_weights = deepcopy(self.model.state_dict())
        return point


def _shown(metrics: Metrics, monitor: str) -> dict[str, str]:
    value = metrics.value(monitor)
    return {f"valid {monitor}": "-" if value is None else f"{value:.3f}"}


def _has_dropout(model: HeadModel) -> bool:
    """Return whether a training step draws random numbers."""
    rates = [getattr(model.config, "embed_dropout", 0.0), getattr(model.config, "resid_dropout", 0.0)]
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            rates.append(module.p)
        elif isinstance(module, LowRankUpdate):
            rates.append(module.dropout)
        elif isinstance(module, SequenceModel):
            rates.append(module.prompt_dropout)
    return any(rate > 0 for rate in rates)
