"""What a pretraining run will take, before it runs: parameters, memory, speed, hours and disk; and what to change.

Parameters and what the optimizer holds of them are counted. What a batch takes, and how fast it is, is measured by a
few steps of the very model at small sizes (`genomix.training.calibration`), where it fits into this machine at all;
where it does not, memory is estimated from what blocks were measured to keep, and speed is not known.
"""

import dataclasses
import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from genomix.provenance import processor_name
from genomix.training.build import plain
from genomix.training.config import PretrainConfig
from genomix.training.costs import Sample
from genomix.training.footprint import Parts, parts_of, weightless
from genomix.training.forecast import Forecast, MemoryPlan
from genomix.training.initial import with_checkpoint
from genomix.training.loop import choose_device, own_random_state, precision
from genomix.training.plan_changes import COMFORT, Change, changes
from genomix.training.run_checkpoints import MARGIN, free_bytes, run_bytes
from genomix.training.screen import Screen
from genomix.training.stages import training_stages

if TYPE_CHECKING:
    from rich.console import Console

    from genomix_data.corpus import Corpus


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a pretraining run will take.

    Args:
        model: Name that the architecture started from.
        parts: Its parameters.
        device: What it trains on, in words.
        processes: How many there are, and how they are arranged.
        precision: Of training.
        seqlen: Tokens of a window.
        batch_size: Windows in a batch, of all processes.
        accumulate: Batches in a step.
        recompute: The policy.
        n_train_bases: Of the genomes; None if not known.
        memory: Of each process.
        tokens_per_second: Of all processes; None where nothing could be measured.
        seconds_per_step: Likewise.
        steps: Optimizer steps of the run: as set, or as many as fit into ``trainer.max_seconds``.
        epochs: Passes over the training bases; None if their number is not known.
        hours: Of training steps; validation, scoring and saving come on top.
        checkpoint_bytes: Size of one checkpoint.
        run_bytes: What all that are kept take at most.
        free_bytes: What the disk has left.
        changes: What may be changed where it does not fit, and what that gives.
        samples: What was measured.
        calibration_seconds: How long that took.
        notes: What else there is to know.
    """

    model: str
    parts: Parts
    device: str
    processes: str
    n_processes: int
    precision: str
    seqlen: int
    batch_size: int
    accumulate: int
    recompute: str
    n_train_bases: int | None
    memory: MemoryPlan
    tokens_per_second: float | None
    seconds_per_step: float | None
    steps: int | None
    epochs: float | None
    hours: float | None
    checkpoint_bytes: int
    run_bytes: int
    free_bytes: int
    changes: tuple[Change, ...]
    samples: tuple[Sample, ...]
    calibration_seconds: float
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether nothing is known to be too small, memory or disk."""
        return self.memory.fits is not False and self.run_bytes <= self.free_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON holds it; sizes in bytes."""
        values: dict[str, Any] = plain(self)
        values["parts"]["total"] = self.parts.total
        values["memory"]["state"]["total"] = self.memory.state.total
        values["fits"] = self.fits
        values["memory"] |= {"most": self.memory.most, "fits": self.memory.fits}
        return values


def make_plan(
    config: PretrainConfig,
    *,
    corpus: "Corpus | None" = None,
    n_bases: int | None = None,
    n_processes: int | None = None,
    output: str | os.PathLike[str] = ".",
    progress: "bool | Console" = False,
) -> Plan:
    """Return what a run will take. Nothing is written.

    Args:
        config: The run.
        corpus: Its genomes, where they are known already.
        n_bases: Bases of genomes that are not there yet, held-out ones included.
        n_processes: Processes of the run; None is as few as ``parallel`` needs.
        output: Where it will write.
        progress: A rich console to speak through; True makes one on stderr, False says nothing.

    Raises:
        GenomixError: for settings that do not go together, as in `genomix.training.pretrain.pretrain`.
        KeyboardInterrupt: if a signal came.
    """
    started = time.perf_counter()
    screen, device = Screen(progress), choose_device(config.trainer)
    config, _ = with_checkpoint(config)
    shape = config.parallel.settled(n_processes or config.parallel.n_processes)
    shape.check_batch(config.data.batch_size)
    shape.check_seqlen(config.data.seqlen)
    config = dataclasses.replace(config, parallel=shape)
    parts = parts_of(weightless(config.architecture))
    n_train = _n_train(config, corpus, n_bases)
    stage = None if corpus is None else training_stages(corpus, config)[-1]
    if stage is not None and len(stage.windows) < config.data.batch_size:  # then a batch is all there is
        data = dataclasses.replace(config.data, batch_size=len(stage.windows), seqlen_warmup=None)
        config = dataclasses.replace(config, data=data)
    forecast = Forecast(config, parts.total, device)
    with own_random_state(config.trainer.seed), _only_new_garbage():
        forecast.measure(screen)
        outlook = forecast.outlook()
        memory = forecast.memory(outlook, n_train, _n_held_out(config, corpus, n_train))
        tried: tuple[Change, ...] = ()
        if memory.available is not None and memory.peak > COMFORT * memory.available:
            tried = changes(
                config,
                forecast.outlook_of,
                memory.available,
                has_own_memory=device.type == "cuda",
            )
    trainer, tokens_per_batch = config.trainer, config.data.batch_size * config.data.seqlen
    each = None if outlook.seconds is None else outlook.seconds * trainer.accumulate
    steps: int | None = trainer.max_steps
    if trainer.max_seconds is not None:
        steps = None if each is None else int(trainer.max_seconds / each)
    n_tokens = None if steps is None else steps * trainer.accumulate * tokens_per_batch
    epochs = None
    if steps is not None and stage is not None:
        epochs = steps * trainer.accumulate / stage.batches_per_epoch
    elif n_tokens is not None and n_train is not None:
        epochs = n_tokens / n_train
    weights, copies = 4 * parts.total, 3 + (trainer.ema_decay is not None)
    return Plan(
        model=config.model.name,
        parts=parts,
        device=_name(device),
        processes="1" if shape.n_processes == 1 else f"{shape.n_processes} ({shape})",
        n_processes=shape.n_processes,
        precision=precision(trainer, device),
        seqlen=config.data.seqlen,
        batch_size=config.data.batch_size,
        accumulate=trainer.accumulate,
        recompute=trainer.recompute,
        n_train_bases=n_train,
        memory=memory,
        tokens_per_second=None if outlook.seconds is None else tokens_per_batch / outlook.seconds,
        seconds_per_step=each,
        steps=steps,
        epochs=epochs,
        hours=None if steps is None or each is None else steps * each / 3600,
        checkpoint_bytes=weights * copies + MARGIN,
        run_bytes=run_bytes(weights, copies=copies, keep=trainer.keep_checkpoints),
        free_bytes=free_bytes(Path(output)),
        changes=tried,
        samples=forecast.samples,
        calibration_seconds=time.perf_counter() - started,
        notes=tuple(_notes(config, forecast, steps)),
    )


@contextmanager
def _only_new_garbage() -> Iterator[None]:
    """Keep the collector, which is called after each sample, from looking through all that was there before."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _n_train(config: PretrainConfig, corpus: "Corpus | None", n_bases: int | None) -> int | None:
    if corpus is not None:
        return corpus.n_bases("train")
    return None if n_bases is None else int(n_bases * (1 - 2 * config.data.holdout))


def _n_held_out(config: PretrainConfig, corpus: "Corpus | None", n_train: int | None) -> int | None:
    if corpus is not None:
        return max(corpus.n_bases("valid"), corpus.n_bases("test"))
    holdout = config.data.holdout
    return None if n_train is None else int(n_train * holdout / (1 - 2 * holdout))


def _notes(config: PretrainConfig, forecast: Forecast, steps: int | None) -> list[str]:
    notes = []
    if not forecast.is_measured:
        notes.append(
            "The model and its optimizer do not fit into one process here, so nothing was measured: memory is an "
            "estimate from what blocks keep, and speed is not known."
        )
    if config.parallel.n_processes > 1 and forecast.is_measured:
        notes.append(
            f"Measured on one process: {config.parallel.n_processes} of them reach these tokens/s if they never wait "
            "for each other."
        )
    if config.parallel.n_processes > 1 and config.trainer.max_seconds is not None:
        number = "" if steps is None else f", trainer.max_steps={steps}"
        notes.append(
            f"Several processes take no trainer.max_seconds: give them the number of steps instead{number}."
        )
    if config.data.seqlen_warmup and forecast.is_measured:
        notes.append("Stages of data.seqlen_warmup are counted at the speed of the last.")
    if steps == 0:
        notes.append(f"Not even one step fits into trainer.max_seconds={config.trainer.max_seconds:g}.")
    if forecast.available is None:
        notes.append("This system does not say how much memory is free.")
    return notes


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}"
    return f"CPU ({processor_name()}; {torch.get_num_threads()} threads)"
