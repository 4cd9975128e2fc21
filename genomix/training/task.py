"""What Lightning optimizes: a model, its loss, and an optimizer whose every step is a pure function of its number."""

import math
from typing import Any

import torch
from jaxtyping import Float, UInt8
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from genomix.heads.classifier import SequenceClassifier
from genomix.models.hyenadna.model import HyenaDNA
from genomix.training.config import OptimizerConfig, ScheduleConfig, SoftMaskLoss
from genomix.training.losses import classification_loss
from genomix.training.optim import layer_lr_scale, parameter_groups
from genomix.training.schedule import cosine_with_warmup
from genomix_data.lm_batch import NO_TARGET, LMBatch
from genomix_data.sampler import mix64
from genomix_data.table_dataset import LabelledBatch

_DROPOUT = 7  # keeps the seeds of dropout apart from those of the data


class TrainingTask(LightningModule):
    """A model under training; children say what the loss of a batch is.

    Dropout is seeded by the number of the batch, and the learning rate set by the number of the step, so that a
    resumed run makes the very steps of one that was never interrupted.

    Args:
        model: What is trained.
        optimizer: Settings of AdamW.
        schedule: Learning rate over the steps.
        total_steps: Optimizer steps of the whole run.
        accumulate: Batches in an optimizer step.
        clip: Largest gradient norm; None for no limit.
        seed: Of dropout.
        start_step: Steps that were made before this part of the run.
        optimizer_state: What `torch.optim.Optimizer.state_dict` gave after those steps.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
        total_steps: int,
        accumulate: int,
        clip: float | None,
        seed: int,
        start_step: int = 0,
        optimizer_state: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer_config = optimizer
        self.schedule = schedule
        self.total_steps = schedule.total_steps or total_steps
        self.accumulate = accumulate
        self.clip = clip
        self.seed = seed
        self.step = start_step
        self.batch = start_step * accumulate
        self.optimizer_state = optimizer_state
        self.loss = torch.zeros(())
        self.grad_norm = torch.zeros(())
        self.lr = learning_rate(self.step, optimizer.lr, schedule, self.total_steps)
        self._base_lrs: list[float] = []

    def configure_optimizers(self) -> torch.optim.AdamW:
        """Return AdamW on the groups of `parameter_groups`, with the state of an earlier part of the run."""
        config = self.optimizer_config
        groups = parameter_groups(self.model, config.lr, config.weight_decay, self.lr_scale)
        self._base_lrs = [float(group["lr"]) for group in groups]
        optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)
        if self.optimizer_state is not None:
            optimizer.load_state_dict(self.optimizer_state)
        return optimizer

    def lr_scale(self, name: str) -> float:
        """Return what part of the learning rate a parameter has; children may say otherwise than all of it."""
        return 1.0

    def training_step(self, batch: Any, batch_idx: int) -> Float[Tensor, ""]:
        """Return the loss of a batch, and keep its value in ``loss``."""
        loss = self.loss_of(batch)
        self.loss = loss.detach()
        return loss

    def loss_of(self, batch: Any) -> Float[Tensor, ""]:
        """Return the mean loss of a batch, in nats."""
        raise NotImplementedError

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout for this batch."""
        torch.manual_seed(mix64(self.seed, self.batch, _DROPOUT) >> 1)

    def count_batch(self) -> None:
        """Count a batch that is done, and the optimizer step that it may have ended."""
        self.batch += 1
        self.step = self.batch // self.accumulate

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any
    ) -> None:
        """Clip the gradient's norm, and set the learning rate of this step."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.grad_norm = nn.utils.clip_grad_norm_(
            parameters, self.clip if self.clip is not None else math.inf
        )
        for group, base in zip(optimizer.param_groups, self._base_lrs, strict=True):
            group["lr"] = learning_rate(self.step, base, self.schedule, self.total_steps)
        self.lr = learning_rate(self.step, self.optimizer_config.lr, self.schedule, self.total_steps)


class LanguageModelTask(TrainingTask):
    """Next-token cross-entropy over all rows of the vocabulary; N and padding are no targets.

    Attributes:
        soft_mask_loss: What the weighted sum is divided by where a batch has weights, see `weighted_cross_entropy`.
    """

    model: HyenaDNA
    soft_mask_loss: SoftMaskLoss = "weighted"

    def loss_of(self, batch: LMBatch) -> Float[Tensor, ""]:
        """Return the mean loss per target of a batch, in nats."""
        logits = self.model(batch.inputs).float()
        if batch.weights is not None:
            return weighted_cross_entropy(logits, batch.targets, batch.weights, self.soft_mask_loss)
        total = F.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten().long(), ignore_index=NO_TARGET, reduction="sum"
        )
        # A batch of nothing but N has no loss, rather than 0 / 0.
        return total / (batch.targets != NO_TARGET).sum().clamp(min=1)


def weighted_cross_entropy(
    logits: Float[Tensor, "B L V"],
    targets: UInt8[Tensor, "B L"],
    weights: Float[Tensor, "B L"],
    form: SoftMaskLoss,
) -> Float[Tensor, ""]:
    """Return ``sum(w_i CE_i) / N`` over the N targets that count, or with ``normalized_weighted`` over ``sum(w_i)``.

    Args:
        logits: fp32.
        targets: Ids; `NO_TARGET` where there is none.
        weights: Of each target.
        form: The normalised form rescales the weights to sum to N.

    Source: the two losses that Evo 2 was trained with (Brixi et al. 2025).
    """
    flat = targets.flatten().long()
    each = F.cross_entropy(logits.flatten(0, 1), flat, ignore_index=NO_TARGET, reduction="none")
    counted = (targets != NO_TARGET).flatten()
    kept = weights.flatten() * counted
    total = (kept * each).sum()
    if form == "weighted":
        return total / counted.sum().clamp(min=1)
    # Weights of nothing but 0 have no loss, rather than 0 / 0.
    return total / torch.where(kept.sum() > 0, kept.sum(), 1.0)


class ClassifierTask(TrainingTask):
    """Cross-entropy over the classes.

    Attributes:
        class_weights: Weight of each class, with a mean of 1 over the training set; None for none.
        label_smoothing: Part of the target that is spread over all classes.
        layer_lr_decay: See `genomix.training.optim.layer_lr_scale`.
    """

    model: SequenceClassifier
    class_weights: Tensor | None = None
    label_smoothing: float = 0.0
    layer_lr_decay: float = 1.0

    def loss_of(self, batch: LabelledBatch) -> Float[Tensor, ""]:
        """Return the mean loss per sequence of a batch, in nats."""
        logits = self.model(batch.ids, batch.lengths).float()
        weights = None if self.class_weights is None else self.class_weights.to(logits)
        return classification_loss(logits, batch.labels, weights, self.label_smoothing)

    def lr_scale(self, name: str) -> float:
        """Return what part of the learning rate a parameter has, by its depth."""
        return layer_lr_scale(name, self.model.config.n_layers, self.layer_lr_decay)


def learning_rate(step: int, lr: float, schedule: ScheduleConfig, total_steps: int) -> float:
    """Return the learning rate of optimizer step ``step`` (0-based), for a group whose peak is ``lr``."""
    warmup_steps = schedule.warmup_fraction * total_steps
    if schedule.name == "constant" and step >= warmup_steps:
        return lr
    return cosine_with_warmup(
        step,
        lr=lr,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        min_lr=schedule.min_lr_fraction * lr,
        warmup_start_lr=min(1e-6, lr),
    )
