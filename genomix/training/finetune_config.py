"""What a fine-tuning run is: a labelled table, a model to start from, how much of it is trained, when to stop."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from genomix.heads.pooling import N_WINDOWS, Pooling
from genomix.training.config import ModelConfig, OptimizerConfig, ScheduleConfig, TrainerConfig
from genomix.training.finetune_method import FullConfig, LossConfig, MethodConfig, ProbeConfig
from genomix_data.errors import ConfigError

Monitor = Literal["mcc", "accuracy", "f1", "auroc", "loss"]


@dataclass(frozen=True, kw_only=True)
class TableDataConfig:
    """Labelled sequences for training, validation and test.

    Args:
        train: Table (CSV or TSV, may be gzipped) with a column of sequences and one of labels.
        valid: Table that chooses the epoch; split off ``train`` when absent.
        test: Table that is scored once, at the end.
        folder: A data set in a folder instead of tables: Genomic Benchmarks (sequence files or coordinates), or tables
            named train, valid or dev, and test.
        genome: FASTA that the coordinates of a folder refer to.
        split: ``official`` keeps the parts as given; ``cluster`` and ``chromosome`` put all sequences together and
            split them anew, in the same proportions, so that no cluster of near copies, or no chromosome, is in two.
        test_fraction: Part that becomes the test set when the data are split anew and bring no test set.
        sequence_column: Name of the column of sequences.
        label_column: Name of the column of labels.
        valid_fraction: Part of ``train`` that is split off for validation, each class alike.
        too_long: What to do with a sequence that is longer than the model's context: ``error``, or ``truncate`` to
            its first bases (how many were cut is reported).
        drop_shared: Leave sequences that the test holds too, on either strand, out of training and validation.
        rc_augment: Show half of the training sequences as their reverse complement.
        batch_size: Sequences in a batch.
        num_workers: Processes that load data.
    """

    train: Path | None = None
    valid: Path | None = None
    test: Path | None = None
    folder: Path | None = None
    genome: Path | None = None
    split: Literal["official", "cluster", "chromosome"] = "official"
    test_fraction: float = 0.1
    sequence_column: str = "sequence"
    label_column: str = "label"
    valid_fraction: float = 0.1
    too_long: Literal["error", "truncate"] = "error"
    drop_shared: bool = False
    rc_augment: bool = False
    batch_size: int = 64
    num_workers: int = 0

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.train is None):
            raise ConfigError(
                "give the data either as data.train=TABLE data.test=TABLE, or as data.folder=FOLDER "
                "(Genomic Benchmarks)."
            )
        if self.train is not None and self.test is None and self.split == "official":
            raise ConfigError(
                "data.test is not set. The test set is scored once, at the end, and never used to choose anything; "
                "give it as data.test=TABLE, or split it off with data.split=cluster."
            )
        if self.folder is not None and self.test is not None:
            raise ConfigError("data.folder brings its own test set; leave out data.test.")
        if self.split not in ("official", "cluster", "chromosome"):
            raise ConfigError(f"data.split is {self.split!r}; it must be official, cluster or chromosome.")
        if self.genome is not None and self.folder is None:
            raise ConfigError(
                "data.genome goes with the coordinates of a data.folder; tables bring their sequences."
            )
        for name in ("valid_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"data.{name} is {getattr(self, name)}; it must lie between 0 and 1.")
        if self.batch_size < 1:
            raise ConfigError(f"data.batch_size is {self.batch_size}; it must be at least 1.")
        if self.num_workers < 0:
            raise ConfigError(f"data.num_workers is {self.num_workers}; it must not be negative.")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The classification head.

    Args:
        pooling: How the positions of a sequence become one vector; padding never takes part.
        n_windows: Equal parts of a sequence for the pooling ``window``.
        dropout: Between pooling and the linear map.
    """

    pooling: Pooling = "mean"
    n_windows: int = N_WINDOWS
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.n_windows < 1:
            raise ConfigError(f"head.n_windows is {self.n_windows}; it must be at least 1.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"head.dropout is {self.dropout}; it must be at least 0 and below 1.")


@dataclass(frozen=True, kw_only=True)
class EpochTrainerConfig(TrainerConfig):
    """Training by epochs, stopped when validation no longer improves.

    Args:
        max_epochs: Largest number of passes over the training set.
        patience: Epochs without improvement after which to stop; None runs all epochs.
        monitor: What validation looks at to choose the epoch.
    """

    max_epochs: int = 100
    patience: int | None = 10
    monitor: Monitor = "mcc"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_epochs < 1:
            raise ConfigError(f"trainer.max_epochs is {self.max_epochs}; it must be at least 1.")
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"trainer.patience is {self.patience}; it must be at least 1, or null.")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """A classifier of sequences."""

    data: TableDataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    method: MethodConfig = field(default_factory=FullConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    trainer: EpochTrainerConfig = field(default_factory=EpochTrainerConfig)

    def __post_init__(self) -> None:
        if isinstance(self.method, ProbeConfig) and self.head.pooling == "attention":
            raise ConfigError(
                "head.pooling=attention is learned, but method=probe embeds each sequence once, before anything is. "
                "Choose mean, window, max, last or first, or method=lora."
            )
