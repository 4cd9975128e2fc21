"""Where and how precisely a model is trained, and under which random state. Needs no Lightning."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from genomix.training.config import TrainerConfig
from genomix_data.errors import ConfigError


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Seed torch within the block, and give the caller's random state back afterwards."""
    # of this process's GPU alone: to look at the state of another would start a context on it
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        yield


def seed_device(seed: int, device: torch.device) -> None:
    """Seed the generator that dropout draws from on a device.

    The same stream as after `torch.manual_seed`, which seeds all devices and, where there is no GPU, notes the whole
    call stack each time: a millisecond, at every step.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


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


def check_finite(value: float, step: int, lr: float, *, what: str = "the loss") -> None:
    """Check that training has not blown up.

    Args:
        value: Of a loss or a score.
        step: After which it was seen.
        lr: Learning rate of that step.
        what: Is not a number, in words.

    Raises:
        ConfigError: if the value is not finite.
    """
    if not math.isfinite(value):
        raise ConfigError(
            f"{what} is {value} at step {step:,} (learning rate {lr:.2g}). Lower optimizer.lr, lengthen "
            "schedule.warmup_fraction, or use trainer.precision=32-true."
        )
