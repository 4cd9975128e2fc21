"""What a training run is: frozen configs, checked when they are made.

`genomix_configs` composes them from YAML; in Python they are made directly. Defaults here equal those of the YAML
(a test compares them). Sources of the defaults: the HyenaDNA recipe (Nguyen et al. 2023, arXiv:2306.15794) and, where
a setting is left to the family of the model, that of Evo 2 (Brixi et al. 2025).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from genomix.models.families import AnyConfig, logit_rows
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.registry import get_model
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.operators.recompute import Recompute
from genomix.parallel.shape import MeshShape
from genomix.training.build import build_fields, plain
from genomix.training.fasta_config import FastaDataConfig
from genomix_data.errors import ConfigError
from genomix_data.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer

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
    config: AnyConfig = field(default_factory=lambda: get_model(DEFAULT_MODEL).config)
    init: Path | None = None

    @property
    def description(self) -> str:
        """Registry name, and the shape where it is another."""
        shape, registered = self.config, get_model(self.name).config
        if (shape.n_layers, shape.d_model) == (registered.n_layers, registered.d_model):
            return self.name
        return f"{self.name} with {shape.n_layers} layers of width {shape.d_model}"

    @classmethod
    def from_values(cls, values: Mapping[str, Any], prefix: str = "model") -> "ModelConfig":
        """Return the config made of values as they stand in YAML."""
        rest = dict(values)
        name = str(rest.pop("name", DEFAULT_MODEL))
        init = rest.pop("init", None)
        row = get_model(name).config
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
    """AdamW; which parameters get no weight decay is the model's to say (see `genomix.training.optim`).

    Args:
        lr: Peak learning rate.
        weight_decay: Of all parameters but those.
        betas: Decay of the two moments; None is as published for the family of the model, see `betas_for`.
        eps: Added to the denominator.
    """

    lr: float = 6e-4
    weight_decay: float = 0.1
    betas: tuple[float, float] | None = None
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _check(self.lr > 0, f"optimizer.lr is {self.lr}; it must be above 0.")
        _check(
            self.weight_decay >= 0, f"optimizer.weight_decay is {self.weight_decay}; it must not be negative."
        )
        _check(
            all(0 <= b < 1 for b in self.betas or ()),
            f"optimizer.betas are {self.betas}; each must lie in [0, 1).",
        )

    def betas_for(self, config: AnyConfig) -> tuple[float, float]:
        """Return the decay of the two moments: as given, or as published for this family of models."""
        return self.betas or ((0.9, 0.95) if isinstance(config, StripedHyena2Config) else (0.9, 0.999))


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Learning rate over the optimizer steps: linear warm-up, then a way down to ``min_lr_fraction * lr``.

    Args:
        name: ``cosine``; ``constant`` (after the warm-up); or ``wsd``, warm-up, stable, decay.
        warmup_fraction: Part of ``total_steps`` that warms up.
        min_lr_fraction: Where the rate ends, as a part of ``lr``.
        decay_fraction: Of ``wsd``: the last part of ``total_steps``, in which the rate falls.
        total_steps: Length of the schedule; None is the length of the run. The published recipe computed it from a
            nominal 1e9 tokens an epoch, about 29 times the real number of steps, so that its rate hardly fell:
            set it by hand to repeat that.
    """

    name: Literal["cosine", "constant", "wsd"] = "cosine"
    warmup_fraction: float = 0.01
    min_lr_fraction: float = 0.1
    decay_fraction: float = 0.2
    total_steps: int | None = None

    def __post_init__(self) -> None:
        for key in ("warmup_fraction", "min_lr_fraction", "decay_fraction"):
            value = getattr(self, key)
            _check(0 <= value <= 1, f"schedule.{key} is {value}; it must lie between 0 and 1.")
        _check(
            self.name != "wsd" or self.warmup_fraction + self.decay_fraction <= 1,
            f"schedule.warmup_fraction is {self.warmup_fraction} and schedule.decay_fraction {self.decay_fraction}; "
            "together they must not exceed 1.",
        )
        total = self.total_steps
        _check(total is None or total > 0, f"schedule.total_steps is {total}; it must be above 0.")


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
        max_seconds: Time to train for instead: the first steps are measured, and ``max_steps`` set to what fits. Time
            to validate, save and measure does not count.
        validate_every: Steps between two validations; None is a tenth of the run.
        patience: Validations in a row without a new best after which training ends; None is never.
        checkpoint_every: Steps between two checkpoints.
        keep_checkpoints: Checkpoints to keep beside the best: the newest, and those before it.
        ema_decay: Keep a moving average of the weights with this decay, and validate, score and save it in place of
            them; None keeps none. In the first steps the decay is lower, see `genomix.training.ema`.
        recompute: What is computed again in the backward pass rather than kept, see `genomix.operators.recompute`.
        score_precision: Precision of the model in validation and test. Logits and log-softmax are fp32 always.
        tensorboard: Write the log for TensorBoard as well, under ``tensorboard`` in the run folder.
        wandb: Log to Weights & Biases as well, as its own variables (WANDB_PROJECT, WANDB_MODE, ...) say.
        markov_order: Largest order of the Markov baseline; the interpolated one has one more.
    """

    max_steps: int = 10_000
    max_seconds: float | None = None
    validate_every: int | None = None
    patience: int | None = None
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    ema_decay: float | None = None
    recompute: Recompute = "auto"
    score_precision: Literal["32-true", "bf16-mixed"] = "32-true"
    tensorboard: bool = False
    wandb: bool = False
    markov_order: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("max_steps", "checkpoint_every", "keep_checkpoints"):
            value = getattr(self, key)
            _check(value >= 1, f"trainer.{key} is {value}; it must be at least 1.")
        for key in ("validate_every", "patience"):
            value = getattr(self, key)
            _check(value is None or value >= 1, f"trainer.{key} is {value}; it must be at least 1, or null.")
        seconds, decay = self.max_seconds, self.ema_decay
        _check(
            seconds is None or seconds > 0, f"trainer.max_seconds is {seconds}; it must be above 0, or null."
        )
        _check(
            decay is None or 0 < decay < 1,
            f"trainer.ema_decay is {decay}; it must lie between 0 and 1, such as 0.999, or be null.",
        )
        order = self.markov_order
        _check(0 <= order <= 12, f"trainer.markov_order is {order}; it must lie between 0 and 12.")

    @property
    def validation_interval(self) -> int:
        """Optimizer steps between two validations."""
        return self.validate_every or max(1, self.max_steps // 10)


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """What pretraining begins with.

    Args:
        checkpoint: Folder of a native checkpoint (`genomix convert` makes one of published weights); its architecture
            and tokenizer are used. None begins with random weights.
        sha256: Of its weights, checked if given; a run records it.
        context_len: Tokens that the model is to take, more than before; see `genomix.training.initial`.
        position_scale: Of StripedHyena 2: rotary positions are divided by it; None is in proportion to the context.
        rope_base: Of StripedHyena 2: base of the rotary frequencies; None keeps those of the checkpoint.
    """

    checkpoint: Path | None = None
    sha256: str | None = None
    context_len: int | None = None
    position_scale: float | None = None
    rope_base: float | None = None

    def __post_init__(self) -> None:
        for key in ("context_len", "position_scale", "rope_base"):
            value = getattr(self, key)
            _check(value is None or value > 0, f"init.{key} is {value}; it must be above 0, or null.")
            _check(
                value is None or self.checkpoint is not None,
                f"init.{key} changes the model of a checkpoint: give init.checkpoint as well.",
            )


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A causal language model on genomes."""

    data: FastaDataConfig
    model: ModelConfig = field(default_factory=lambda: _pretraining_model())
    init: InitConfig = field(default_factory=InitConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    trainer: StepTrainerConfig = field(default_factory=StepTrainerConfig)
    parallel: MeshShape = field(default_factory=MeshShape)

    def __post_init__(self) -> None:
        _check(
            self.model.init is None,
            "model.init is for fine-tuning; to continue pretraining, give init.checkpoint=FOLDER.",
        )
        if self.init.checkpoint is None:
            check_fits(self)  # otherwise once the checkpoint is known

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the model. Lower case (soft-masked bases) is read as upper case."""
        is_byte = isinstance(self.model.config, StripedHyena2Config)
        name = {"auto": "byte" if is_byte else "char"}.get(self.data.tokenizer, self.data.tokenizer)
        return ByteTokenizer(case="upper") if name == "byte" else CharTokenizer()

    @property
    def architecture(self) -> AnyConfig:
        """The model's config as it is trained: for StripedHyena 2 with the longest windows it saw as context."""
        config, seqlen = self.model.config, self.data.seqlen
        if isinstance(config, StripedHyena2Config):
            before = 0 if self.init.checkpoint is None else config.context_len
            return dataclasses.replace(config, context_len=max(before, seqlen))
        return config


def check_fits(config: PretrainConfig) -> None:
    """Check that the windows and the tokenizer go with the architecture.

    Raises:
        ConfigError: if they do not.
    """
    model, seqlen = config.model, config.data.seqlen
    longest = model.config.longest_input
    _check(
        longest is None or seqlen <= longest,
        f"data.seqlen is {seqlen}, but {model.name} takes at most model.l_max={longest} tokens. "
        "Shorten the windows or choose a model with a longer context (genomix models).",
    )
    rows, needed = logit_rows(model.config), config.tokenizer.vocab_size
    _check(
        needed <= rows,
        f"the {config.tokenizer.name} tokenizer has {needed} ids and the model {rows} rows; set model.vocab_size or "
        "data.tokenizer.",
    )


def untrained(config: AnyConfig) -> AnyConfig:
    """Return the architecture as it is for training from random weights.

    ``shift=0`` is what the code that trained the published HyenaDNA models used; the 0.05 of the registry is for their
    weights. StripedHyena 2 needs 8-bit products only where weights were trained with them.
    """
    if isinstance(config, HyenaDNAConfig):
        return dataclasses.replace(config, shift=0.0)
    return dataclasses.replace(config, weights_precision="bf16")


def _pretraining_model() -> ModelConfig:
    return ModelConfig(config=untrained(get_model(DEFAULT_MODEL).config))
