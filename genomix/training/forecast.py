"""Memory and seconds of a batch of a planned run, for any size, policy and number of processes.

Measured by `genomix.training.calibration` where the model fits into one process here; estimated otherwise.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from genomix.models.families import build_language_model
from genomix.operators.recompute import Recompute
from genomix.training.baselines import context_model_bytes
from genomix.training.calibration import PACES, calibrate, scoring_bytes
from genomix.training.config import PretrainConfig
from genomix.training.costs import Costs, Sample
from genomix.training.footprint import StateBytes, estimated_activations, part_kept_by_auto, state_bytes
from genomix.training.held_out import score_batch_size
from genomix.training.loop import precision
from genomix.training.machine_memory import available_bytes, held_bytes
from genomix.training.plan_changes import COMFORT, Outlook
from genomix.training.screen import Screen


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Bytes that each process will hold at most.

    Args:
        base: Before there is a model: Python and libraries, in the resident set of a CPU; 0 on a GPU.
        state: Weights, gradients, optimizer, average.
        batch: Activations of a batch, beyond these.
        peak: The most while training.
        scoring: The most while validating, on a GPU; it may be more than ``peak`` for small batches.
        context_models: The most that the context models at the end of the run take of the machine's memory, with all
            else that the process then holds; None if the number of bases is not known.
        available: What the process may have; None if the system does not say.
        is_measured: Whether ``batch`` comes from steps on this machine.
    """

    base: int
    state: StateBytes
    batch: int
    peak: int
    scoring: int | None
    context_models: int | None
    available: int | None
    is_measured: bool

    @property
    def most(self) -> int:
        """The most of the whole run: training, validating; and on a CPU the context models as well."""
        on_cpu = self.context_models if self.scoring is None else None
        return max(self.peak, self.scoring or 0, on_cpu or 0)

    @property
    def fits(self) -> bool | None:
        """Whether training fits; None if that is not known."""
        return None if self.available is None else self.most <= COMFORT * self.available


class Forecast:
    """Memory and seconds of a batch for any size and policy.

    Args:
        config: The run, its processes settled.
        n_parameters: Of the model.
        device: Where it trains.
    """

    def __init__(self, config: PretrainConfig, n_parameters: int, device: torch.device) -> None:
        self.config = config
        self.n_parameters = n_parameters
        self.device = device
        self.base = held_bytes(device)
        self.available = available_bytes(device)
        self.total_memory: int | None = None
        if device.type == "cuda":
            self.total_memory = torch.cuda.get_device_properties(device).total_memory
        elif self.available is not None:
            self.available //= config.parallel.n_processes  # they share the memory of this machine
        self._model: Any = None
        self._costs: dict[Recompute, Costs] = {}

    @property
    def is_measured(self) -> bool:
        """Whether there was room to measure anything."""
        return self._model is not None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What was measured with the policy of the run, or without any where that is ``auto``."""
        return self._costs[self._first_policy].samples if self._costs else ()

    @property
    def _first_policy(self) -> Recompute:
        policy = self.config.trainer.recompute
        return "none" if policy == "auto" else policy

    def measure(self, screen: Screen) -> None:
        """Make the model and its first steps, if they fit."""
        alone = dataclasses.replace(self.config.parallel, data=1, shard=1, context=1, strategy="auto")
        whole = state_bytes(self.n_parameters, dataclasses.replace(self.config, parallel=alone)).total
        if self.available is not None and self.base + 1.2 * whole > self.available:
            return
        screen.say("  measuring a few steps at small sizes ...", style="dim")
        self._model = build_language_model(self.config.architecture).to(self.device)
        try:
            self._costs_of(self._first_policy)
        except torch.OutOfMemoryError:
            self._model = None
            self._costs.clear()
            torch.cuda.empty_cache()

    def outlook(self) -> Outlook:
        """Return what the run as it is set will take."""
        return self.outlook_of(self.config)

    def outlook_of(self, config: PretrainConfig) -> Outlook:
        """Return what a run of the same model with other windows, batches, policy or processes will take."""
        state, policy = state_bytes(self.n_parameters, config), config.trainer.recompute
        n_windows = -(-config.data.batch_size // config.parallel.n_batch_parts)
        seqlen = -(-config.data.seqlen // config.parallel.context)
        gathered = 0
        if config.parallel.shards_parameters:  # two blocks are whole at a time: one at work, one on its way
            gathered = 2 * 4 * self.n_parameters // config.architecture.n_layers
        if not self.is_measured:
            name = precision(config.trainer, self.device)
            batch = estimated_activations(
                config.architecture, n_windows * seqlen, policy, name, self.total_memory
            )
            return Outlook(peak=self.base + state.total + gathered + batch, seconds=None)
        peak, seconds = self._cost(policy, n_windows, seqlen)
        # Measured was one process without an average, that has everything.
        measured_state = 16 * self.n_parameters
        own = state.total + gathered - measured_state
        if config.trainer.accumulate > 1 and self.config.trainer.accumulate == 1:
            own += state.gradients  # there while the next batch is computed
        # a resident set may have shrunk since: what is held is needed in any case
        return Outlook(peak=max(peak + own, self.base), seconds=seconds)

    def memory(self, outlook: Outlook, n_train: int | None, n_held_out: int | None) -> MemoryPlan:
        """Return the memory of the run as it is set.

        Args:
            outlook: Of `outlook`.
            n_train: Training bases.
            n_held_out: Held-out bases of the larger split.
        """
        config = self.config
        state = state_bytes(self.n_parameters, config)
        held = self.base + state.total
        scoring = None
        if self.device.type == "cuda" and self.is_measured:
            data = config.data
            at_once = score_batch_size(data.batch_size, data.seqlen, config.architecture.d_model, self.device)
            n_tokens = at_once * data.seqlen
            if n_held_out is not None:
                n_tokens = max(min(data.seqlen, n_tokens), min(n_tokens, n_held_out))
            n_tokens //= config.parallel.context
            clones = state.average  # the weights of the step wait while their average is scored
            scoring = held + clones + scoring_bytes(self._model, config, n_tokens, self.device)
        context_models = None
        if n_train is not None:
            on_host = held if self.device.type == "cpu" else held_bytes(torch.device("cpu"))
            context_models = on_host + context_model_bytes(n_train, config.trainer.markov_order)
        return MemoryPlan(
            base=self.base,
            state=state,
            batch=max(0, outlook.peak - held),
            peak=outlook.peak,
            scoring=scoring,
            context_models=context_models,
            available=self.available,
            is_measured=self.is_measured,
        )

    def _cost(self, policy: Recompute, n_windows: int, seqlen: int) -> tuple[int, float]:
        if policy != "auto":
            costs = self._costs_of(policy)
            return costs.peak(n_windows, seqlen), costs.seconds(n_windows, seqlen)
        peak, seconds = self._cost("none", n_windows, seqlen)
        kept = part_kept_by_auto(self.config.architecture, n_windows * seqlen, self.total_memory)
        if kept == 1:
            return peak, seconds
        least, longest = self._cost("block", n_windows, seqlen)
        return int(least + kept * (peak - least)), longest + kept * (seconds - longest)

    def _costs_of(self, policy: Recompute) -> Costs:
        if policy not in self._costs:
            data, shape = self.config.data, self.config.parallel
            pace = PACES[self.device.type]
            if policy != self._first_policy:
                pace = dataclasses.replace(pace, enough=pace.enough / 4)  # for comparison only
            self._costs[policy] = calibrate(
                self.config,
                self._model,
                policy,
                n_windows=-(-data.batch_size // shape.n_batch_parts),
                seqlen=-(-data.seqlen // shape.context),
                device=self.device,
                available=self.available,
                pace=pace,
            )
        return self._costs[policy]
