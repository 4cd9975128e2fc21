"""How many steps fit into a time: some are made on a copy of the model, measured, and thrown away.

So the length of the run is known before its first step, the schedule is a function of the step as ever, and a run with
a budget resumes bit for bit like any other.
"""

import copy
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training.config import PretrainConfig
from genomix.training.feed import training_batches
from genomix.training.loop import fit
from genomix.training.stages import Stage
from genomix.training.task import LanguageModelTask
from genomix_data.errors import ConfigError

WARM_STEPS, WARM_SECONDS = 5, 1.0
"""Steps that are not measured: kernels are compiled and chosen in the first ones."""
MEASURED_STEPS, MEASURED_SECONDS = 10, 3.0
"""At least so many steps, and so much time (but a twentieth of the budget where that is less), is measured."""


def steps_within(
    seconds: float,
    config: PretrainConfig,
    model: HyenaDNA | StripedHyena2,
    stages: Sequence[Stage],
    *,
    device: torch.device,
) -> int:
    """Return how many steps of a run from its beginning fit into ``seconds``.

    Args:
        seconds: Time for training steps.
        config: What to run.
        model: On its device; left as it is.
        stages: Of the run.
        device: Where it trains.

    Raises:
        ConfigError: if not even the stages before the last fit.
        KeyboardInterrupt: if a signal came; nothing is lost.
    """
    left, steps = seconds, 0
    for stage in stages:
        each = seconds_per_step(seconds, config, model, stage, device=device)
        if stage.steps is None:
            steps += int(left / each)
        else:
            left -= each * stage.steps
            steps += stage.steps
    if left <= 0 or steps < 1:
        raise ConfigError(
            f"trainer.max_seconds={seconds:g} is too short: a step takes {each:.3g} s on this machine"
            + (f", and data.seqlen_warmup alone {seconds - left:.0f} s" if len(stages) > 1 else "")
            + ". Allow more time, or make the batch smaller."
        )
    return steps


def seconds_per_step(
    budget: float,
    config: PretrainConfig,
    model: HyenaDNA | StripedHyena2,
    stage: Stage,
    *,
    device: torch.device,
) -> float:
    """Return the mean time of a step of a stage, data loading included."""
    task = LanguageModelTask.of_run(config, copy.deepcopy(model))
    watch = StepWatch(device, min(MEASURED_SECONDS, budget / 20))
    data = training_batches(config, stage, device)  # until the watch has seen enough
    if fit(task, data, trainer=config.trainer, device=device, on_step=watch.look) is not None:
        raise KeyboardInterrupt
    del task, data
    gc.collect()  # Lightning's parts refer to each other, and hold the copy and its optimizer
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return watch.seconds / watch.steps


@dataclass
class StepWatch:
    """Measures steps: ``steps`` of them took ``seconds``, after ``warm`` that are not counted.

    Args:
        device: Where they are made; a GPU is waited for before the first and after the last that counts.
        enough: Seconds to measure at least.
    """

    device: torch.device
    enough: float
    warm: int = 0
    steps: int = 0
    seconds: float = 0.0
    _began: float = field(default_factory=time.perf_counter)
    _is_measuring: bool = False

    def look(self, loss: torch.Tensor | None = None) -> bool:
        """Count a step, and return whether enough is known."""
        elapsed = time.perf_counter() - self._began
        if not self._is_measuring:
            self.warm += 1
            if self.warm >= WARM_STEPS and elapsed >= min(WARM_SECONDS, self.enough):
                self._wait()
                self._is_measuring, self._began = True, time.perf_counter()
            return False
        self.steps += 1
        if self.steps < MEASURED_STEPS or elapsed < self.enough:
            return False
        self._wait()
        self.seconds = time.perf_counter() - self._began
        return True

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
