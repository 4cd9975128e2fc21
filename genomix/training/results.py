"""What comes out of training, for reports and for result.json."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeVar

from genomix.heads.sequence_model import HeadKind
from genomix.training.baselines import Baseline, InterpolatedBaseline, MarkovBaseline
from genomix.training.held_out import BitsPerBase
from genomix.training.metrics import ClassificationMetrics, Metrics
from genomix_data.benchmarks.published import PublishedResult
from genomix_data.leakage import LeakageReport

M = TypeVar("M", bound=Metrics, default=ClassificationMetrics)
"""What kind of metrics a task has."""


class RunInterruptedError(KeyboardInterrupt):
    """SIGINT or SIGTERM stopped a run after a whole step, and that step is saved.

    Args:
        folder: The run folder.
        step: Steps done.
        max_steps: Steps of the whole run.
        signal_number: What stopped it.
    """

    def __init__(self, folder: Path, step: int, max_steps: int, signal_number: int) -> None:
        super().__init__(f"stopped at step {step:,} of {max_steps:,}")
        self.folder = folder
        self.step = step
        self.max_steps = max_steps
        self.signal_number = signal_number


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPoint:
    """A row of the training log.

    Args:
        step: Optimizer steps done.
        loss: Mean loss since the row before, in nats per target.
        lr: Learning rate of the last step.
        tokens_per_second: Speed since the row before; None where it was not measured.
    """

    step: int
    loss: float
    lr: float
    tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationPoint:
    """Bits per base on the validation windows after a number of steps."""

    step: int
    bits_per_base: float


@dataclass(frozen=True, kw_only=True)
class PretrainResult:
    """A pretrained language model and how good it is.

    Args:
        folder: The run folder.
        model_folder: The native checkpoint.
        n_parameters: Trainable parameters.
        steps: Optimizer steps that were made.
        ended: Why training ended before its last step; empty if it did not.
        tokens: Target tokens of these steps, had all batches been full.
        best_step: The step whose weights were kept: the best on validation.
        n_train_bases: Bases to train on, N included.
        n_windows: Training windows of an epoch.
        n_windows_left_out: Windows that ``data.n_policy`` leaves out.
        epochs: Passes over the training windows.
        history: Training log.
        validation: Validation log.
        held_out: Bits per base on the test bases, each scored once.
        held_out_rule: What was scored, in words.
        markov: Markov models on the same bases.
        interpolated: Mixtures of context models on the same bases.
        train_seconds: Time in training steps, all parts of the run together.
        seconds: Wall time of this part of the run, from start to end.
        tokens_per_second: Training speed: target tokens over ``train_seconds``.
        provenance: Versions, machine, command, config and checksums of the genomes.
    """

    folder: Path
    model_folder: Path
    n_parameters: int
    steps: int
    ended: str
    tokens: int
    best_step: int
    n_train_bases: int
    n_windows: int
    n_windows_left_out: int
    epochs: float
    history: tuple[LossPoint, ...]
    validation: tuple[ValidationPoint, ...]
    held_out: BitsPerBase
    held_out_rule: str
    markov: MarkovBaseline
    interpolated: InterpolatedBaseline
    train_seconds: float
    seconds: float
    tokens_per_second: float
    provenance: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return what result.json holds: everything but the logs, which are in metrics.csv."""
        return {
            "held_out": {
                "bits_per_base": self.held_out.bits_per_base,
                "bits_per_base_acgt": self.held_out.bits_per_base_acgt,
                "n_bases": self.held_out.n_bases,
                "bits_per_base_soft_masked": self.held_out.bits_per_base_masked,
                "bits_per_base_not_soft_masked": self.held_out.bits_per_base_unmasked,
                "n_soft_masked": self.held_out.n_masked,
                "rule": self.held_out_rule,
            },
            "markov": {**_of_baseline(self.markov), "alpha": self.markov.alpha},
            "interpolated": _of_baseline(self.interpolated),
            "model": str(self.model_folder),
            "n_parameters": self.n_parameters,
            "steps": self.steps,
            "ended": self.ended,
            "tokens": self.tokens,
            "best_step": self.best_step,
            "epochs": self.epochs,
            "n_train_bases": self.n_train_bases,
            "n_windows": self.n_windows,
            "n_windows_left_out": self.n_windows_left_out,
            "train_seconds": self.train_seconds,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
            "provenance": self.provenance,
        }


def _of_baseline(baseline: Baseline) -> dict[str, Any]:
    return {
        "bits_per_base": baseline.bits_per_base,
        "bits_per_base_soft_masked": baseline.masked,
        "bits_per_base_not_soft_masked": baseline.unmasked,
        "best_order": baseline.best_order,
        "test_bits_per_base_by_order": list(baseline.test),
        "valid_bits_per_base_by_order": list(baseline.valid),
        "both_strands": baseline.both_strands,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochPoint(Generic[M]):
    """Validation after an epoch, or of one setting of a probe.

    Args:
        epoch: The epoch; of a linear probe, the number of the setting.
        step: Optimizer steps done; of a linear probe, the iterations of its fit.
        train_loss: Mean loss on the training set.
        metrics: On the validation set.
        l2: Strength of a linear probe.
    """

    epoch: int
    step: int
    train_loss: float
    metrics: M
    l2: float | None = None


@dataclass(frozen=True, kw_only=True)
class FinetuneResult(Generic[M]):
    """A fine-tuned model and how good it is.

    Args:
        folder: The output folder.
        model_folder: The native checkpoint in it.
        class_names: Names of the classes; of the labels or targets, where there are no classes.
        n_parameters: Parameters that were trained.
        n_train: Training sequences.
        n_valid: Validation sequences.
        n_shared: Test sequences that training or validation holds too, on either strand.
        n_truncated: Sequences that were cut to the longest input of the model.
        best_epoch: The epoch (or setting of a probe) whose weights were kept (1-based), by ``monitor`` on validation.
        epochs: Epochs (or settings) that were made.
        monitor: What chose the epoch.
        history: Training log.
        validation: Validation after every epoch.
        valid: Validation metrics of the best epoch.
        test: Test metrics of the best epoch; the test set was looked at once.
        test_clean: The same over the test sequences that have no near copy in training or validation; None if all
            have one, or it was not looked at.
        intervals: 95 % bootstrap intervals of test metrics.
        published: What others have reported on this data set.
        leakage: What the test shares with training and validation.
        split: How the parts were made: ``official``, ``random``, ``cluster`` or ``chromosome``.
        method: What was trained: ``full``, ``probe``, ``lora`` or ``soft_prompt``.
        kind: What the outputs mean; see `genomix.heads.sequence_model.HeadKind`.
        protocol: How validation and test were used.
        task: Name of the recipe.
        chosen: What validation chose, in words.
        counts: Sequences of each class in each part, and what was found odd about them.
        test_probabilities: ``(n, C)``, in the order of the test table: probabilities, or numbers of a regression; of
            single bases, ``(bases, C)``.
        test_labels: What they are compared with: class indices, or ``(n, C)`` labels or numbers.
        train_seconds: Time in training steps.
        seconds: Wall time from start to end.
        sequences_per_second: Training speed.
        provenance: Versions, machine, command, config and checksums.
    """

    folder: Path
    model_folder: Path
    class_names: tuple[str, ...]
    n_parameters: int
    n_train: int
    n_valid: int
    n_shared: int
    n_truncated: int
    best_epoch: int
    epochs: int
    monitor: str
    history: tuple[LossPoint, ...]
    validation: tuple[EpochPoint[M], ...]
    valid: M
    test: M
    test_probabilities: NDArray[np.float64]
    test_labels: NDArray[Any]
    train_seconds: float
    seconds: float
    sequences_per_second: float
    provenance: dict[str, Any]
    test_clean: M | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    published: tuple[PublishedResult, ...] = ()
    leakage: LeakageReport | None = None
    split: str = "official"
    method: str = "full"
    kind: HeadKind = "classifier"
    protocol: str = "holdout"
    task: str | None = None
    chosen: str = ""
    counts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what result.json holds: everything but the logs and the predictions, which have files of their own."""
        return {
            "task": self.task,
            "kind": self.kind,
            "method": self.method,
            "protocol": self.protocol,
            "chosen": self.chosen,
            "test": self.test.to_dict(),
            "test_clean": None if self.test_clean is None else self.test_clean.to_dict(),
            "test_ci95": {name: list(ends) for name, ends in self.intervals.items()},
            "split": self.split,
            "n_near_copies": None if self.leakage is None else self.leakage.total.has_near_copy,
            "valid": self.valid.to_dict(),
            "model": str(self.model_folder),
            "class_names": list(self.class_names),
            "n_parameters": self.n_parameters,
            "n_train": self.n_train,
            "n_valid": self.n_valid,
            "n_shared_between_train_and_test": self.n_shared,
            "n_truncated": self.n_truncated,
            "counts": self.counts,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "monitor": self.monitor,
            "train_seconds": self.train_seconds,
            "seconds": self.seconds,
            "sequences_per_second": self.sequences_per_second,
            "published": [row.to_dict() for row in self.published],
            "provenance": self.provenance,
        }
