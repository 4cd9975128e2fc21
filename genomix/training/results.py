"""What comes out of training, for reports and for result.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genomix.training.held_out import BitsPerBase, MarkovBaseline


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
            "train_seconds": self.train_seconds,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
            "provenance": self.provenance,
        }
