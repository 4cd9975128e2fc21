"""What comes out of training, for reports and for result.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genomix.training.held_out import BitsPerBase, MarkovBaseline
from genomix.training.metrics import ClassificationMetrics
from genomix_data.leakage import LeakageReport


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
        steps: Optimizer steps of the run.
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
        train_seconds: Time in training steps, all parts of the run together.
        seconds: Wall time of this part of the run, from start to end.
        tokens_per_second: Training speed: target tokens over ``train_seconds``.
        provenance: Versions, machine, command, config and checksums of the genomes.
    """

    folder: Path
    model_folder: Path
    n_parameters: int
    steps: int
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
            "markov": {
                "bits_per_base": self.markov.bits_per_base,
                "best_order": self.markov.best_order,
                "test_bits_per_base_by_order": list(self.markov.test),
                "valid_bits_per_base_by_order": list(self.markov.valid),
                "alpha": self.markov.alpha,
                "both_strands": self.markov.both_strands,
            },
            "model": str(self.model_folder),
            "n_parameters": self.n_parameters,
            "steps": self.steps,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochPoint:
    """Validation after an epoch, or of one setting of a probe.

    Args:
        epoch: The epoch; of a logistic probe, the number of the setting.
        step: Optimizer steps done; of a logistic probe, the iterations of its fit.
        train_loss: Mean loss on the training set, in nats.
        metrics: On the validation set.
        l2: Strength of a logistic probe.
    """

    epoch: int
    step: int
    train_loss: float
    metrics: ClassificationMetrics
    l2: float | None = None


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """A fine-tuned classifier and how good it is.

    Args:
        folder: The output folder.
        model_folder: The native checkpoint in it.
        class_names: Names of the classes.
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
        leakage: What the test shares with training and validation.
        split: How the parts were made: ``official``, ``cluster`` or ``chromosome``.
        method: What was trained: ``full``, ``probe`` or ``lora``.
        chosen: What validation chose, in words.
        test_probabilities: ``(n, C)``, in the order of the test table.
        test_labels: Class index of each test sequence.
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
    validation: tuple[EpochPoint, ...]
    valid: ClassificationMetrics
    test: ClassificationMetrics
    test_probabilities: NDArray[np.float64]
    test_labels: NDArray[np.int64]
    train_seconds: float
    seconds: float
    sequences_per_second: float
    provenance: dict[str, Any]
    test_clean: ClassificationMetrics | None = None
    leakage: LeakageReport | None = None
    split: str = "official"
    method: str = "full"
    chosen: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return what result.json holds: everything but the logs and the predictions, which have files of their own."""
        return {
            "method": self.method,
            "chosen": self.chosen,
            "test": self.test.to_dict(),
            "test_clean": None if self.test_clean is None else self.test_clean.to_dict(),
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
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "monitor": self.monitor,
            "train_seconds": self.train_seconds,
            "seconds": self.seconds,
            "sequences_per_second": self.sequences_per_second,
            "provenance": self.provenance,
        }
