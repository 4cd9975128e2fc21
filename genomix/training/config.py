"""What a training run is: frozen configs, checked when they are made.

`genomix_configs` composes them from YAML; in Python they are made directly. Defaults here equal those of the YAML
(a test compares them). Sources of the defaults: the HyenaDNA recipe (Nguyen et al. 2023, arXiv:2306.15794).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.registry import hyenadna_config
from genomix.training.build import build_fields, plain
from genomix_data.errors import ConfigError
from genomix_data.n_policy import NPolicy

SoftMaskLoss = Literal["weighted", "normalized_weighted"]
DEFAULT_MODEL = "hyenadna/tiny-1k"


def _check(is_fine: bool, message: str) -> None:
    if not is_fine:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model: the registry row that it started from, and its architecture.

    As values (YAML) the architecture stands beside the name: ``model.name``, ``model.d_model``, ``model.shift``, ...

    Args:
        name: Registry name, e.g. ``hyenadna/tiny-1k``.
        config: The architecture; that of the registry unless changed.
        init: Folder of a native checkpoint to start from (fine-tuning only); its architecture is then used.
    """

    name: str = DEFAULT_MODEL
    config: HyenaDNAConfig = field(default_factory=lambda: hyenadna_config(DEFAULT_MODEL))
    init: Path | None = None

    @classmethod
    def from_values(cls, values: Mapping[str, Any], prefix: str = "model") -> "ModelConfig":
        """Return the config made of values as they stand in YAML."""
        rest = dict(values)
        name = str(rest.pop("name", DEFAULT_MODEL))
        init = rest.pop("init", None)
        row = hyenadna_config(name)
        try:
            config = build_fields(type(row), {**plain(row), **rest}, prefix=prefix)
        except ConfigError as error:
            # The architecture names its own class; the user knows the group.
            raise ConfigError(str(error).replace(f"{type(row).__name__}.", f"{prefix}.")) from error
        return cls(name=name, config=config, init=None if init is None else Path(init))

    def to_values(self) -> dict[str, Any]:
        """Return the config as it stands in YAML."""
        init = {"init": str(self.init)} if self.init is not None else {}
        return {"name": self.name, **init, **dataclasses.asdict(self.config)}


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW as HyenaDNA uses it; the filter MLP gets no weight decay (see `genomix.training.optim`)."""

    lr: float = 6e-4
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _check(self.lr > 0, f"optimizer.lr is {self.lr}; it must be above 0.")
        _check(
            self.weight_decay >= 0, f"optimizer.weight_decay is {self.weight_decay}; it must not be negative."
        )
        _check(
            all(0 <= b < 1 for b in self.betas), f"optimizer.betas are {self.betas}; each must lie in [0, 1)."
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Learning rate over the optimizer steps: linear warm-up, then a cosine down to ``min_lr_fraction * lr``.

    Args:
        name: ``cosine``, or ``constant`` (after the warm-up).
        warmup_fraction: Part of ``total_steps`` that warms up.
        min_lr_fraction: Where the cosine ends, as a part of ``lr``.
        total_steps: Length of the cosine; None is the length of the run. The published recipe computed it from a
            nominal 1e9 tokens an epoch, about 29 times the real number of steps, so that its rate hardly fell:
            set it by hand to repeat that.
    """

    name: Literal["cosine", "constant"] = "cosine"
    warmup_fraction: float = 0.01
    min_lr_fraction: float = 0.1
    total_steps: int | None = None

    def __post_init__(self) -> None:
        for key in ("warmup_fraction", "min_lr_fraction"):
            value = getattr(self, key)
            _check(0 <= value <= 1, f"schedule.{key} is {value}; it must lie between 0 and 1.")
        total = self.total_steps
        _check(total is None or total > 0, f"schedule.total_steps is {total}; it must be above 0.")


@dataclass(frozen=True, kw_only=True)
class FastaDataConfig:
    """Genomes for pretraining, and which part of them is held out.

    Held-out bases come from, in this order: the splits of ``bed``; ``valid_contigs`` and ``test_contigs``; or the
    last ``2 * holdout`` of every contig (first the validation part, then the test part).

    Args:
        fasta: One or several genomes: FASTA (plain or bgzipped), 2bit, GenBank, a folder, or a token store.
        seqlen: Input tokens of a window; each window predicts as many bases.
        bed: BED file whose fourth column is train, valid or test.
        train_contigs: Contigs to train on; all that are not held out by default.
        valid_contigs: Contigs for validation.
        test_contigs: Contigs that are scored once, at the end.
        holdout: Part of each contig for validation, and again for the test.
        contig_map: File of two columns with other names of the contigs.
        batch_size: Windows in a batch.
        jitter: Move each training window by a random number of bases, another one in every epoch.
        rc_augment: Show half of the training windows as their reverse complement.
        add_eos: End each training window with HyenaDNA's ``[SEP]``, as its published recipe does.
        n_policy: Which training windows are offered: ``keep`` all, ``skip`` those with N, or ``max:0.1``, those of
            which at most this part is N. N is no target in any case.
        weights: Expected share of the training windows of each genome; None is by their size.
        packing: Read training regions one after the other with an end-of-sequence token after each, so that a
            window may hold the end of one and the beginning of the next, as Evo 2 was trained.
        soft_mask_weight: Weight in the loss of bases in lower case (repeats); Evo 2 has 0.1.
        soft_mask_loss: ``weighted`` divides the weighted sum by the number of targets; ``normalized_weighted`` by the
            sum of their weights, so that down-weighting does not shrink the loss.
        eval_overlap: Bases of left context that neighbouring held-out windows share; they are scored once.
        valid_windows: Held-out windows, evenly spread, that each validation during training looks at; None is all.
        num_workers: Processes that load data; 0 loads in the training process (genomes are memory-mapped anyway).
    """

    fasta: tuple[Path, ...]
    seqlen: int = 1024
    bed: Path | None = None
    train_contigs: tuple[str, ...] | None = None
    valid_contigs: tuple[str, ...] | None = None
    test_contigs: tuple[str, ...] | None = None
    holdout: float = 0.05
    contig_map: Path | None = None
    batch_size: int = 32
    jitter: bool = True
    rc_augment: bool = False
    add_eos: bool = False
    n_policy: str = "keep"
    weights: tuple[float, ...] | None = None
    packing: bool = False
    soft_mask_weight: float = 1.0
    soft_mask_loss: SoftMaskLoss = "weighted"
    eval_overlap: int = 0
    valid_windows: int | None = 256
    num_workers: int = 0

    def __post_init__(self) -> None:
        _check(len(self.fasta) > 0, "data.fasta is empty; give at least one FASTA file.")
        _check(self.seqlen >= 2, f"data.seqlen is {self.seqlen}; a window needs at least 2 tokens.")
        _check(self.batch_size >= 1, f"data.batch_size is {self.batch_size}; it must be at least 1.")
        _check(self.num_workers >= 0, f"data.num_workers is {self.num_workers}; it must not be negative.")
        _check(0 < self.holdout < 0.5, f"data.holdout is {self.holdout}; it must lie between 0 and 0.5.")
        _check(
            0 <= self.eval_overlap < self.seqlen,
            f"data.eval_overlap is {self.eval_overlap}; it must be shorter than data.seqlen={self.seqlen}.",
        )
        self._check_windows()
        _check(
            self.valid_windows is None or self.valid_windows >= 1,
            f"data.valid_windows is {self.valid_windows}; it must be at least 1, or null for all.",
        )
        by_contig = self.valid_contigs is not None or self.test_contigs is not None
        _check(
            not (self.bed and (by_contig or self.train_contigs)),
            "data.bed and data.*_contigs both say what is held out; give one of them.",
        )
        _check(
            not by_contig or bool(self.valid_contigs and self.test_contigs),
            "data.valid_contigs and data.test_contigs belong together: validation chooses the checkpoint, the test is "
            "scored once. Give both, or neither to hold out a part of every contig (data.holdout).",
        )

    def _check_windows(self) -> None:
        try:
            policy = NPolicy.parse(self.n_policy)
        except ConfigError as error:
            raise ConfigError(f"data.n_policy: {error}") from error
        _check(
            0 <= self.soft_mask_weight <= 1,
            f"data.soft_mask_weight is {self.soft_mask_weight}; it must lie between 0 and 1.",
        )
        _check(
            self.weights is None or len(self.weights) == len(self.fasta),
            f"data.weights is {self.weights}, for {len(self.fasta)} files in data.fasta; give one weight for each.",
        )
        _check(
            self.weights is None or all(weight > 0 for weight in self.weights),
            f"data.weights is {self.weights}; each must be above 0. Leave out a file that is not wanted.",
        )
        _check(
            not self.packing or not self.add_eos,
            "data.packing ends each document, data.add_eos each window; choose one.",
        )
        _check(
            not self.packing or policy.keeps_all,
            "data.n_policy leaves out windows, data.packing reads all there is; choose one. Gaps as long as a window "
            "are cut out in any case.",
        )


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """What every kind of training has in common.

    Args:
        clip: Largest norm of the gradient; larger ones are scaled down. None clips nothing.
        accumulate: Batches whose gradients are added up for one optimizer step.
        precision: ``auto`` is bf16-mixed on CUDA and 32-true on CPU.
        device: ``auto`` takes CUDA where there is one.
        seed: Of the initial weights, the data order, augmentation and dropout.
        log_every: Optimizer steps between two rows of the log.
    """

    clip: float | None = 1.0
    accumulate: int = 1
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 2222
    log_every: int = 10

    def __post_init__(self) -> None:
        _check(
            self.clip is None or self.clip > 0, f"trainer.clip is {self.clip}; it must be above 0, or null."
        )
        for key in ("accumulate", "log_every"):
            value = getattr(self, key)
            _check(value >= 1, f"trainer.{key} is {value}; it must be at least 1.")
        _check(0 <= self.seed < 2**63, f"trainer.seed is {self.seed}; it must lie between 0 and 2^63 - 1.")


@dataclass(frozen=True, kw_only=True)
class StepTrainerConfig(TrainerConfig):
    """Training by optimizer steps, with checkpoints to resume from.

    Args:
        max_steps: Optimizer steps of the run.
        validate_every: Steps between two validations; None is a tenth of the run.
        checkpoint_every: Steps between two checkpoints.
        markov_order: Largest order of the Markov baseline.
    """

    max_steps: int = 10_000
    validate_every: int | None = None
    checkpoint_every: int = 500
    markov_order: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("max_steps", "checkpoint_every"):
            value = getattr(self, key)
            _check(value >= 1, f"trainer.{key} is {value}; it must be at least 1.")
        every = self.validate_every
        _check(
            every is None or every >= 1, f"trainer.validate_every is {every}; it must be at least 1, or null."
        )
        order = self.markov_order
        _check(0 <= order <= 12, f"trainer.markov_order is {order}; it must lie between 0 and 12.")

    @property
    def validation_interval(self) -> int:
        """Optimizer steps between two validations."""
        return self.validate_every or max(1, self.max_steps // 10)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A causal language model on genomes."""

    data: FastaDataConfig
    model: ModelConfig = field(default_factory=lambda: _pretraining_model())
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    trainer: StepTrainerConfig = field(default_factory=StepTrainerConfig)

    def __post_init__(self) -> None:
        l_max = self.model.config.l_max
        _check(
            self.data.seqlen <= l_max,
            f"data.seqlen is {self.data.seqlen}, but {self.model.name} takes at most model.l_max={l_max} tokens. "
            "Shorten the windows or choose a model with a longer context (genomix models).",
        )
        _check(
            self.model.init is None, "model.init is for fine-tuning; pretraining starts from random weights."
        )


def _pretraining_model() -> ModelConfig:
    # shift=0 is what the published training code used; the 0.05 of the registry is for published weights.
    row = hyenadna_config(DEFAULT_MODEL)
    return ModelConfig(config=dataclasses.replace(row, shift=0.0))
