"""What a fine-tuning run is: labelled sequences, a model to start from, how much of it is trained, when to stop."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from genomix.checkpoint.shipped import DEFAULT_MODEL as SHIPPED_MODEL
from genomix.heads.pooling import N_WINDOWS, Pooling
from genomix.heads.sequence_model import HeadKind
from genomix.heads.variant_pair import PairFeatures
from genomix.training.config import ModelConfig, OptimizerConfig, ScheduleConfig, TrainerConfig
from genomix.training.finetune_method import (
    FullConfig,
    LossConfig,
    MethodConfig,
    ProbeConfig,
    SoftPromptConfig,
)
from genomix_data.errors import ConfigError

Monitor = Literal[
    "auto", "loss", "mcc", "accuracy", "f1", "auroc", "auprc", "median_auroc", "pearson", "spearman", "r2"
]
MONITORS: dict[HeadKind, tuple[str, ...]] = {
    "classifier": ("mcc", "accuracy", "f1", "auroc", "auprc", "loss"),
    "variant_classifier": ("mcc", "accuracy", "f1", "auroc", "auprc", "loss"),
    "token_classifier": ("mcc", "accuracy", "f1", "auroc", "auprc", "loss"),
    "multilabel": ("auroc", "median_auroc", "auprc", "loss"),
    "regressor": ("r2", "pearson", "spearman", "loss"),
}
"""What validation can look at for each kind of head; ``auto`` is the first."""

Split = Literal["official", "random", "cluster", "chromosome"]
Protocol = Literal["holdout", "paper", "cv5", "cv10"]


@dataclass(frozen=True, kw_only=True)
class TableDataConfig:
    """Labelled sequences for training, validation and test.

    Args:
        train: Table (CSV or TSV, may be gzipped) with a column of sequences and one of labels.
        valid: Table that chooses the epoch; split off ``train`` when absent.
        test: Table that is scored once, at the end.
        folder: A data set in a folder instead of tables: Genomic Benchmarks (sequence files or coordinates), or tables
            named train, valid or dev, and test.
        benchmark: Name of a data set of the registry (``genomix data list``), in ``folder`` or somewhere in ``root``.
        root: Folder of data sets, in which ``benchmark`` is looked for; see `genomix_data.benchmarks.find`.
        genome: FASTA that the coordinates of a folder refer to.
        split: ``official`` keeps the parts as given; the others put all sequences together and split them anew, in the
            same proportions: ``cluster`` and ``chromosome`` so that no cluster of near copies, or no chromosome, is in
            two; ``random`` so that no two parts have the same sequence.
        test_fraction: Part that becomes the test set when the data are split anew and bring no test set.
        sequence_column: Name of the column of sequences.
        label_column: Name of the column of labels.
        target_columns: Columns of targets of a multi-label task or a regression; None takes all that are no
            identifiers, coordinates or sequence.
        ref_column: Of variants: column of the sequences with the reference allele.
        alt_column: Of variants: column of the sequences with the alternative allele.
        valid_fraction: Part of ``train`` that is split off for validation, each class alike.
        valid_split: How: ``random``, or ``cluster`` so that no cluster of near copies is in both. Where training holds
            overlapping windows of few places, a random part says nothing of other places.
        too_long: What to do with a sequence that is longer than the model's context: ``error``, or ``truncate`` to
            its first bases (how many were cut is reported).
        drop_shared: Leave sequences that the test holds too, on either strand, out of training and validation.
        rc_augment: Show half of the training sequences as their reverse complement.
        batch_size: Sequences in a batch.
    """

    train: Path | None = None
    valid: Path | None = None
    test: Path | None = None
    folder: Path | None = None
    benchmark: str | None = None
    root: Path | None = None
    genome: Path | None = None
    split: Split = "official"
    test_fraction: float = 0.1
    sequence_column: str = "sequence"
    label_column: str = "label"
    target_columns: tuple[str, ...] | None = None
    ref_column: str = "ref_sequence"
    alt_column: str = "alt_sequence"
    valid_fraction: float = 0.1
    valid_split: Literal["random", "cluster"] = "random"
    too_long: Literal["error", "truncate"] = "error"
    drop_shared: bool = False
    rc_augment: bool = False
    batch_size: int = 64

    def __post_init__(self) -> None:
        is_folder = self.folder is not None or self.benchmark is not None
        if is_folder == (self.train is not None):
            raise ConfigError(
                "give the data either as data.train=TABLE data.test=TABLE, or as data.folder=FOLDER "
                "(Genomic Benchmarks), or as task=NAME data.root=FOLDER."
            )
        if self.benchmark is not None and self.folder is None and self.root is None:
            raise ConfigError(
                f"where are the files of {self.benchmark}? Give the folder of your data sets, data.root=FOLDER, or "
                f"that of this one, data.folder=FOLDER (genomix data info {self.benchmark} says how to get it)."
            )
        if self.train is not None and self.test is None and self.split == "official":
            raise ConfigError(
                "data.test is not set. The test set is scored once, at the end, and never used to choose anything; "
                "give it as data.test=TABLE, or split it off with data.split=cluster."
            )
        if is_folder and self.test is not None:
            raise ConfigError("data.folder brings its own test set; leave out data.test.")
        if self.split not in ("official", "random", "cluster", "chromosome"):
            raise ConfigError(
                f"data.split is {self.split!r}; it must be official, random, cluster or chromosome."
            )
        if self.valid_split not in ("random", "cluster"):
            raise ConfigError(f"data.valid_split is {self.valid_split!r}; it must be random or cluster.")
        if self.genome is not None and not is_folder:
            raise ConfigError(
                "data.genome goes with the coordinates of a data.folder; tables bring their sequences."
            )
        for name in ("valid_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"data.{name} is {getattr(self, name)}; it must lie between 0 and 1.")
        if self.batch_size < 1:
            raise ConfigError(f"data.batch_size is {self.batch_size}; it must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """What stands on the backbone, and what its outputs mean.

    Args:
        kind: ``classifier`` (a sequence has one of several classes), ``multilabel`` (labels of 0 or 1), ``regressor``
            (numbers), ``token_classifier`` (a class for each base) or ``variant_classifier`` (a class for a pair of
            sequences, REF and ALT).
        pooling: How the positions of a sequence become one vector; padding never takes part.
        n_windows: Equal parts of a sequence for the pooling ``window``.
        dropout: Between pooling and the linear map.
        lookahead: Of ``token_classifier``: bases after a base that its class may depend on.
        pair: Of ``variant_classifier``: what the head reads, see `VariantPairClassifier`.
        both_strands: Average what the model says of a sequence and of its reverse complement, in validation, test and
            prediction. Training is as it was.
        rc_invariant: Give the head the mean of the states of both strands, in training as well: the outputs of both
            strands are then the same by construction. It costs two passes.
    """

    kind: HeadKind = "classifier"
    pooling: Pooling = "mean"
    n_windows: int = N_WINDOWS
    dropout: float = 0.0
    lookahead: int = 0
    pair: PairFeatures = "difference"
    both_strands: bool = False
    rc_invariant: bool = False

    def __post_init__(self) -> None:
        if self.n_windows < 1:
            raise ConfigError(f"head.n_windows is {self.n_windows}; it must be at least 1.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"head.dropout is {self.dropout}; it must be at least 0 and below 1.")
        if self.lookahead < 0:
            raise ConfigError(f"head.lookahead is {self.lookahead}; it must not be negative.")
        if self.both_strands and self.rc_invariant:
            raise ConfigError(
                "head.rc_invariant gives both strands the same outputs, so head.both_strands would only double the "
                "time; choose one."
            )


@dataclass(frozen=True, kw_only=True)
class EpochTrainerConfig(TrainerConfig):
    """Training by epochs, stopped when validation no longer improves.

    Args:
        max_epochs: Largest number of passes over the training set.
        patience: Epochs without improvement after which to stop; None runs all epochs.
        monitor: What validation looks at to choose the epoch; ``auto`` is MCC for classes, AUROC for labels and
            R2 for numbers.
        workers: Runs (seeds, folds, tasks) that train side by side, a process each; None is one on a CPU and, on a GPU,
            as many as there is work and cores for, up to 8.
        cuda_graphs: With ``method=full`` and StripedHyena 2 on a GPU, launch full batches of one length as a graph: the
            host then does little for each step, which is what bounds small models.
    """

    max_epochs: int = 100
    patience: int | None = 10
    monitor: Monitor = "auto"
    workers: int | None = None
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_epochs < 1:
            raise ConfigError(f"trainer.max_epochs is {self.max_epochs}; it must be at least 1.")
        for name in ("patience", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"trainer.{name} is {value}; it must be at least 1, or null.")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """A model with a head, trained on labelled sequences.

    Args:
        data: The sequences.
        task: Name of the recipe that the settings come from; None for data of your own.
        protocol: ``holdout``: validation chooses, the test is scored once. ``paper``: as HyenaDNA was published, the
            test set chooses the epoch. ``cv5`` and ``cv10``: 5 or 10 runs, each with another tenth (or the like) of
            the training set for validation, as Caduceus has it; where there is no test set, that many folds.
        seeds: Runs that differ in their seed: ``trainer.seed`` and those that follow it.
        model: To start from: the model that ships, unless an architecture or another checkpoint is given.
        method: How much of it is trained.
        head: What stands on it.
        loss: What is minimised.
        optimizer: AdamW.
        schedule: Learning rate over the steps.
        trainer: Epochs, device, seed.
    """

    data: TableDataConfig
    task: str | None = None
    protocol: Protocol = "holdout"
    seeds: int = 1
    model: ModelConfig = field(default_factory=lambda: ModelConfig(init=Path(SHIPPED_MODEL)))
    method: MethodConfig = field(default_factory=FullConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    trainer: EpochTrainerConfig = field(default_factory=EpochTrainerConfig)

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"seeds is {self.seeds}; it must be at least 1.")
        kind, monitor = self.head.kind, self.trainer.monitor
        if monitor not in ("auto", *MONITORS[kind]):
            raise ConfigError(
                f"trainer.monitor is {monitor!r}, which a {kind} does not have; there are auto, "
                f"{', '.join(MONITORS[kind])}."
            )
        self._check_method()
        classes = kind in ("classifier", "variant_classifier", "token_classifier")
        if self.loss.class_weights is not None and not classes:
            raise ConfigError(f"loss.class_weights is for classes; a {kind} has none. Leave it out.")
        if self.loss.label_smoothing and kind not in ("classifier", "variant_classifier"):
            raise ConfigError(
                f"loss.label_smoothing is for classes of sequences, not for a {kind}. Leave it out."
            )
        if self.loss.regression != "mse" and kind != "regressor":
            raise ConfigError(f"loss.regression is for head=regression, not for a {kind}. Leave it out.")

    def _check_method(self) -> None:
        is_probe, is_prompt = isinstance(self.method, ProbeConfig), isinstance(self.method, SoftPromptConfig)
        if is_probe and self.head.pooling == "attention":
            raise ConfigError(
                "head.pooling=attention is learned, but method=probe embeds each sequence once, before anything is. "
                "Choose mean, window, max, last or first, or method=lora."
            )
        if (is_probe or is_prompt) and self.head.kind == "token_classifier":
            raise ConfigError(
                f"method={self.method.name} works on one vector a sequence, and head=tokens has a class for each base. "
                "Choose method=lora or method=full."
            )
        if is_prompt and self.head.rc_invariant:
            raise ConfigError("method=soft_prompt trains on one strand; leave out head.rc_invariant.")

    @property
    def monitor(self) -> str:
        """What validation looks at to choose the epoch."""
        return MONITORS[self.head.kind][0] if self.trainer.monitor == "auto" else self.trainer.monitor
