"""Learning rate over steps: linear warm-up, then half a cosine down to a floor, as in the official recipe; or a
plateau and a short decay.
"""

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from genomix.training.config import ScheduleConfig


def cosine_with_warmup(
    step: int,
    *,
    lr: float,
    total_steps: int,
    warmup_steps: float,
    min_lr: float,
    warmup_start_lr: float = 1e-6,
) -> float:
    """Return the learning rate of optimizer step ``step``, counted from 0.

    The cosine starts at step 0, not at the end of the warm-up, so that the first rate after the warm-up is a little
    below ``lr``.

    Args:
        step: 0-based number of the step.
        lr: Peak.
        total_steps: Steps after which the rate stays at ``min_lr``.
        warmup_steps: Steps of linear increase from ``warmup_start_lr``; may be fractional, 0 for none.
        min_lr: Floor.
        warmup_start_lr: Rate of step 0, if there is a warm-up.

    Raises:
        ValueError: if ``total_steps`` is not positive or the warm-up is longer.
    """
    if total_steps < 1 or not 0 <= warmup_steps <= total_steps:
        raise ValueError(
            f"total_steps is {total_steps} and warmup_steps {warmup_steps}; "
            "total_steps must be at least 1, and the warm-up no longer than that."
        )
    if step < warmup_steps:
        return warmup_start_lr + step * (lr - warmup_start_lr) / warmup_steps
    if step >= total_steps:
        return min_lr
    return min_lr + 0.5 * (lr - min_lr) * (1 + math.cos(math.pi * step / total_steps))


def warmup_stable_decay(
    step: int, *, lr: float, total_steps: int, decay_steps: float, min_lr: float
) -> float:
    """Return the learning rate of optimizer step ``step``, counted from 0, after the warm-up: a plateau, then a fall.

    In the last ``decay_steps`` the rate falls as ``1 - sqrt(part of the decay)``. Up to there a run can be prolonged.

    Args:
        step: 0-based number of the step.
        lr: Plateau.
        total_steps: Steps after which the rate stays at ``min_lr``.
        decay_steps: Steps of the fall; may be fractional.
        min_lr: Floor.

    Source: Haegele et al. 2024, Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations,
    arXiv:2405.18392.
    """
    into = step - (total_steps - decay_steps)
    if into <= 0:
        return lr
    if step >= total_steps:
        return min_lr
    return min_lr + (lr - min_lr) * (1 - math.sqrt(into / decay_steps))


class CosineWithWarmup(LRScheduler):
    """`cosine_with_warmup` for the groups of an optimizer, each from its own learning rate; step it every batch."""

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        total_steps: int,
        warmup_steps: float,
        min_lr: float,
        warmup_start_lr: float = 1e-6,
        last_epoch: int = -1,
    ) -> None:
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.min_lr = min_lr
        self.warmup_start_lr = warmup_start_lr
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each group at the current step; a group below the floor or start stays at its own."""
        return [
            cosine_with_warmup(
                self.last_epoch,
                lr=float(base),
                total_steps=self.total_steps,
                warmup_steps=self.warmup_steps,
                min_lr=min(self.min_lr, float(base)),
                warmup_start_lr=min(self.warmup_start_lr, float(base)),
            )
            for base in self.base_lrs
        ]


def learning_rate(step: int, lr: float, schedule: ScheduleConfig, total_steps: int) -> float:
    """Return the learning rate of optimizer step ``step`` (0-based), for a group whose peak is ``lr``."""
    warmup_steps = schedule.warmup_fraction * total_steps
    if schedule.name == "constant" and step >= warmup_steps:
        return lr
    if schedule.name == "wsd" and step >= warmup_steps:
        return warmup_stable_decay(
            step,
            lr=lr,
            total_steps=total_steps,
            decay_steps=schedule.decay_fraction * total_steps,
            min_lr=schedule.min_lr_fraction * lr,
        )
    return cosine_with_warmup(
        step,
        lr=lr,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        min_lr=schedule.min_lr_fraction * lr,
        warmup_start_lr=min(1e-6, lr),
    )
