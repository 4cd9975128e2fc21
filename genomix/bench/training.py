"""A pretraining step by itself and fed from genomes, in one run: what the data layer and the loop cost.

Four things are measured, one after the other, round after round, every other round backwards:

- ``step``: forward, loss, backward, clipping and optimizer on one batch that stays on the device;
- ``loop``: the same step and batch in the loop of `genomix pretrain`;
- ``fed``: that loop with the batches of a run: windows, jitter, strand, ids, transfer;
- ``loader``: those batches made ready for the device, with no model.

Step, loop and batches are the ones that a run has; its log, validation and checkpoints are left out.
"""

import dataclasses
import gc
import itertools
import os
import statistics
import time
from typing import Any

import torch

from genomix.checkpoint.native import LoadedModel
from genomix.models.families import build_language_model
from genomix.parallel.launched import n_launched
from genomix.parallel.shape import MeshShape
from genomix.provenance import run_record
from genomix.training.budget import StepWatch
from genomix.training.build import plain
from genomix.training.config import PretrainConfig
from genomix.training.device import check_finite, choose_device, own_random_state, precision
from genomix.training.ema import WeightAverage
from genomix.training.feed import ENDLESS, SameBatch, n_workers, training_batches
from genomix.training.initial import load_initial, with_checkpoint
from genomix.training.loop import fit
from genomix.training.machine_memory import peak_bytes, reset_peak
from genomix.training.pretrain import load_genomes
from genomix.training.screen import Screen
from genomix.training.stages import training_stages
from genomix.training.task import LanguageModelTask
from genomix_data.corpus import Corpus
from genomix_data.errors import ConfigError
from genomix_data.lm_batch import LMBatch

PARTS = ("step", "loop", "fed", "loader")

WHAT = {
    "step": "step, resident batch",
    "loop": "training loop, resident batch",
    "fed": "training loop, genome",
    "loader": "batches without a model",
}


def measure_training(
    config: PretrainConfig,
    *,
    seconds: float,
    rounds: int,
    limit: float,
    screen: Screen,
) -> dict[str, Any]:
    """Return tokens a second of each of `PARTS`, as JSON values.

    ``of_step`` is the ratio to the step alone within a round; ``highest_of_step`` that of the highest rates of all
    rounds, which says more on a machine that others use too.

    Args:
        config: As of `genomix pretrain`; of windows whose length warms up the last length is taken.
        seconds: Of each measurement, warm-up not counted; at least 10 steps.
        rounds: How often each part is measured.
        limit: Seconds after which no further round is begun; the first is always finished.
        screen: Where each measurement is said as it is made.

    Raises:
        GenomixError: for genomes or a checkpoint that do not fit.
        ConfigError: if the settings are of several processes, or the loss becomes NaN.
        KeyboardInterrupt: if a signal came.
    """
    if n_launched() != 1 or config.parallel != MeshShape():
        raise ConfigError("genomix bench training measures one process. Leave out parallel.*, and torchrun.")
    config, loaded = with_checkpoint(config)
    corpus = load_genomes(config, screen)
    load = os.getloadavg()[0]
    began = time.perf_counter()
    with own_random_state(config.trainer.seed):
        bench = _Bench(config, corpus, seconds, loaded)
        measured: list[dict[str, _Measured]] = []
        longest = 0.0
        for number in range(rounds):
            before = time.perf_counter()
            if measured and before - began + longest > limit:
                screen.say(f"{number} of {rounds} rounds made: the next would pass {limit:g} s")
                break
            found: dict[str, _Measured] = {}
            for part in PARTS if number % 2 == 0 else PARTS[::-1]:
                found[part] = bench.measure(part)
                screen.say(f"round {number + 1}: {WHAT[part]}: {found[part].tokens_per_second:,.0f} tokens/s")
            measured.append(found)
            longest = max(longest, time.perf_counter() - before)
    device = bench.device
    return {
        "meta": run_record(config=plain(config), genomes=list(corpus.fingerprints)),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "load_average_before": round(load, 2),
        "versions": {},
        "model": config.model.name,
        "n_parameters": sum(p.numel() for p in bench.model.parameters() if p.requires_grad),
        "L": bench.stage.windows.seqlen,
        "B": bench.stage.batch_size,
        "accumulate": config.trainer.accumulate,
        "precision": str(precision(config.trainer, device)),
        "workers": n_workers(config, device),
        "seconds_each": seconds,
        "rounds": len(measured),
        "rows": [_row(part, measured) for part in PARTS],
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Measured:
    tokens_per_second: float
    peak: int


class _Bench:
    """A model, its optimizer and the windows of a run.

    Args:
        config: What to run.
        corpus: Its genomes.
        seconds: Of each measurement.
        loaded: What it begins with; None for random weights.
    """

    def __init__(
        self, config: PretrainConfig, corpus: Corpus, seconds: float, loaded: LoadedModel | None = None
    ) -> None:
        self.config = config
        self.device = choose_device(config.trainer)
        self.seconds = seconds
        self.model = build_language_model(config.architecture).to(self.device)
        self.model.recompute = config.trainer.recompute
        if loaded is not None:
            load_initial(self.model, loaded, config.init)
        self.task = LanguageModelTask.of_run(config, self.model)
        decay = config.trainer.ema_decay
        self.average = None if decay is None else WeightAverage(self.model, decay, None)
        self.stage = training_stages(corpus, config)[-1]
        first: LMBatch = next(iter(training_batches(config, self.stage, self.device).train_dataloader()))
        weights = None if first.weights is None else first.weights.to(self.device)
        self.resident = LMBatch(first.inputs.to(self.device), first.targets.to(self.device), weights)
        self._next_batch = 0

    def measure(self, part: str) -> _Measured:
        """Return what was found about one of `PARTS`.

        Raises:
            ConfigError: if the loss becomes NaN.
            KeyboardInterrupt: if a signal came.
        """
        # Anew, as Lightning moves weights when a fit ends, and a graph that was captured before would not follow them.
        self.task = LanguageModelTask.of_run(self.config, self.model).to(self.device)
        gc.collect()  # Lightning's parts refer to each other, and hold the optimizer of the part before
        reset_peak(self.device)
        watch = StepWatch(self.device, self.seconds)
        tokens = {"step": self._step, "loop": self._loop, "fed": self._fed, "loader": self._loader}[part](
            watch
        )
        if part != "loader":
            check_finite(float(self.task.loss), self.task.step, self.task.lr)
        return _Measured(tokens_per_second=tokens / watch.seconds, peak=peak_bytes(self.device))

    def _step(self, watch: StepWatch) -> int:
        task, accumulate = self.task, self.task.accumulate
        optimizer = task.configure_optimizers()
        task.train()
        is_bf16 = precision(self.config.trainer, self.device) == "bf16-mixed"
        is_over = False
        while not is_over:
            optimizer.zero_grad()
            for number in range(accumulate):
                if number:
                    task.count_batch()
                task.on_train_batch_start(self.resident, 0)
                # as Lightning has it: a graph cannot be captured with autocast's cache
                with torch.autocast(self.device.type, torch.bfloat16, is_bf16, cache_enabled=False):
                    loss = task.training_step(self.resident, 0)
                torch.autograd.backward(loss / accumulate)
            task.configure_gradient_clipping(optimizer)
            optimizer.step()
            task.count_batch()
            is_over = self._after_step(watch)
        return watch.steps * accumulate * self.resident.inputs.numel()

    def _loop(self, watch: StepWatch) -> int:
        self._fit(SameBatch(self.resident, ENDLESS), watch)
        return watch.steps * self.task.accumulate * self.resident.inputs.numel()

    def _fed(self, watch: StepWatch) -> int:
        accumulate, first = self.task.accumulate, self._next_batch
        self._fit(training_batches(self.config, self.stage, self.device, start=first), watch)
        self._next_batch += (watch.warm + watch.steps) * accumulate
        counted = range(first + watch.warm * accumulate, self._next_batch)
        return sum(map(self._windows_in, counted)) * self.stage.windows.seqlen

    def _loader(self, watch: StepWatch) -> int:
        batches = training_batches(self.config, self.stage, self.device, start=self._next_batch)
        # Batches that workers have made ready before the watch began must not count.
        ahead = 2 * n_workers(self.config, self.device) + 2
        tokens = 0
        batch: LMBatch
        for batch in itertools.islice(batches.train_dataloader(), ahead, None):
            if watch.look():
                break
            tokens = tokens + batch.inputs.numel() if watch.steps else 0
        return tokens + batch.inputs.numel()

    def _fit(self, data: Any, watch: StepWatch) -> None:
        trainer = self.config.trainer
        stopped = fit(
            self.task,
            data,
            trainer=trainer,
            device=self.device,
            on_step=lambda loss: self._after_step(watch),
        )
        if stopped is not None:
            raise KeyboardInterrupt

    def _after_step(self, watch: StepWatch) -> bool:
        if self.average is not None:
            self.average.update(self.task.step - 1)
        return watch.look()

    def _windows_in(self, batch: int) -> int:
        """Return the windows of a batch: the last of an epoch has what is left."""
        n, size = len(self.stage.windows), self.stage.batch_size
        return min(size, n - batch % self.stage.batches_per_epoch * size)


def _row(part: str, measured: list[dict[str, _Measured]]) -> dict[str, Any]:
    rates = [found[part].tokens_per_second for found in measured]
    best_step = max(found["step"].tokens_per_second for found in measured)
    ratios = [found[part].tokens_per_second / found["step"].tokens_per_second for found in measured]
    return {
        "part": part,
        "what": WHAT[part],
        "tokens_per_s": round(statistics.median(rates), 1),
        "lowest": round(min(rates), 1),
        "highest": round(max(rates), 1),
        "of_step": round(statistics.median(ratios), 4),
        "of_step_lowest": round(min(ratios), 4),
        "of_step_highest": round(max(ratios), 4),
        "highest_of_step": round(max(rates) / best_step, 4),
        "peak_gb": round(max(found[part].peak for found in measured) / 1e9, 3),
        "tokens_per_s_of_rounds": [round(rate, 1) for rate in rates],
    }
