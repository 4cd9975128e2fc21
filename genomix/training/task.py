"""What Lightning optimizes: a model, its loss, and an optimizer whose every step is a pure function of its number."""

import math
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training.config import OptimizerConfig, PretrainConfig, ScheduleConfig
from genomix.training.fasta_config import SoftMaskLoss
from genomix.training.graphed_loss import GraphedLoss
from genomix.training.lm_loss import next_token_loss
from genomix.training.optim import parameter_groups
from genomix.training.ranks import RunRanks
from genomix.training.schedule import learning_rate
from genomix_data.lm_batch import LMBatch
from genomix_data.sampler import mix64

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
        ranks: The processes that train it together.
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
        ranks: RunRanks | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.ranks = ranks or RunRanks()
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
        # One kernel for all parameters of a group, where there is such a kernel; it rounds differently on a CPU.
        is_cuda = all(parameter.is_cuda for group in groups for parameter in group["params"])
        optimizer = torch.optim.AdamW(
            groups,
            lr=config.lr,
            betas=config.betas_for(self.model.config),  # type: ignore[arg-type]  # all that is trained has one
            eps=config.eps,
            fused=True if is_cuda else None,
        )
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

    def release(self) -> None:
        """Give back what is held on the device for further batches alone; children may have something."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout for this batch."""
        own = (self.ranks.rank,) if self.ranks.rank else ()  # ranks drop out different features
        seed = mix64(self.seed, self.batch, _DROPOUT, *own) >> 1
        # What torch.manual_seed does, but for devices that are not there: for each it would note who asked.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def count_batch(self) -> None:
        """Count a batch that is done, and the optimizer step that it may have ended."""
        self.batch += 1
        self.step = self.batch // self.accumulate

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any
    ) -> None:
        """Clip the gradient's norm, and set the learning rate of this step."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.grad_norm = self.ranks.clip(parameters, self.clip if self.clip is not None else math.inf)
        for group, base in zip(optimizer.param_groups, self._base_lrs, strict=True):
            group["lr"] = learning_rate(self.step, base, self.schedule, self.total_steps)
        self.lr = learning_rate(self.step, self.optimizer_config.lr, self.schedule, self.total_steps)


class LanguageModelTask(TrainingTask):
    """Next-token cross-entropy over all rows of the vocabulary; N and padding are no targets.

    Attributes:
        soft_mask_loss: What the weighted sum is divided by where a batch has weights, see `next_token_loss`.
    """

    model: HyenaDNA | StripedHyena2
    soft_mask_loss: SoftMaskLoss = "weighted"
    _graphed: GraphedLoss | None = None

    @classmethod
    def of_run(
        cls,
        config: PretrainConfig,
        model: HyenaDNA | StripedHyena2,
        *,
        start_step: int = 0,
        optimizer_state: dict[str, Any] | None = None,
        ranks: RunRanks | None = None,
    ) -> "LanguageModelTask":
        """Return what a pretraining run optimizes.

        Args:
            config: What to run.
            model: What is trained.
            start_step: Steps that were made before.
            optimizer_state: Of the optimizer after those steps.
            ranks: The processes that train it together.
        """
        trainer = config.trainer
        task = cls(
            model,
            optimizer=config.optimizer,
            schedule=config.schedule,
            total_steps=trainer.max_steps,
            accumulate=trainer.accumulate,
            clip=trainer.clip,
            seed=trainer.seed,
            start_step=start_step,
            optimizer_state=optimizer_state,
            ranks=ranks,
        )
        task.soft_mask_loss = config.data.soft_mask_loss
        return task

    def training_step(self, batch: LMBatch, batch_idx: int) -> Float[Tensor, ""]:
        """Return what this process goes back from, and keep the mean loss of the whole batch in ``loss``."""
        if self.ranks.step is None:
            return super().training_step(batch, batch_idx)
        ends_step = (self.batch + 1) % self.accumulate == 0
        loss, self.loss = self.ranks.step.loss(batch, is_last=ends_step)
        return loss

    def loss_of(self, batch: LMBatch) -> Float[Tensor, ""]:
        """Return the mean loss per target of a batch, in nats."""
        parts = batch.inputs, batch.targets, *([] if batch.weights is None else [batch.weights])
        if self.accumulate > 1:
            return self._loss_of_parts(*parts)
        if self._graphed is None:
            self._graphed = GraphedLoss(self._loss_of_parts, self.model)
        return self._graphed(*parts)

    def release(self) -> None:
        """Give back the memory of the CUDA graph."""
        if self._graphed is not None:
            self._graphed.release()

    def _loss_of_parts(self, inputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        hidden = self.model.hidden_states(inputs)
        return next_token_loss(self.model, hidden, targets, weights, self.soft_mask_loss)
