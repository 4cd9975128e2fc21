"""How much of a model fine-tuning trains: all of it, a head on frozen embeddings, or a head and something small."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from genomix.adapters.lora import LoraConfig
from genomix.training.build import build_fields, convert
from genomix.training.losses import RegressionLoss
from genomix_data.errors import ConfigError, preview

METHODS = ("full", "probe", "lora", "soft_prompt")


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """What is trained: `FullConfig`, `ProbeConfig`, `LoraMethodConfig` or `SoftPromptConfig`, by ``name``."""

    name: str

    @classmethod
    def from_values(cls, values: Mapping[str, Any], prefix: str = "method") -> "MethodConfig":
        """Return the config made of values as they stand in YAML."""
        kinds: dict[str, type[MethodConfig]] = {
            "full": FullConfig,
            "probe": ProbeConfig,
            "lora": LoraMethodConfig,
            "soft_prompt": SoftPromptConfig,
        }
        known = Literal["full", "probe", "lora", "soft_prompt"]
        name = convert(values.get("name", "full"), known, f"{prefix}.name")
        return build_fields(kinds[name], values, prefix=prefix)


@dataclass(frozen=True, kw_only=True)
class FullConfig(MethodConfig):
    """Every weight is trained.

    Args:
        layer_lr_decay: Learning rate of a layer as a part of the one above it; the head has ``optimizer.lr``, the
            embedding the smallest. 1 gives all the same.
    """

    name: Literal["full"] = "full"
    layer_lr_decay: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.layer_lr_decay <= 1:
            raise ConfigError(
                f"method.layer_lr_decay is {self.layer_lr_decay}; it must be above 0 and at most 1."
            )


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(MethodConfig):
    """The model is frozen: each sequence is embedded once, and a small classifier fitted to the embeddings.

    Args:
        classifier: ``logistic`` is an L2-regularised (multinomial) logistic regression, solved to its optimum;
            ``mlp`` has one hidden layer and is trained by epochs (``optimizer``, ``trainer``, ``head.dropout``).
        strengths: L2 strengths to try; validation chooses. The penalty is ``strength / 2`` times the squared weights,
            beside the mean loss of a sequence, on embeddings scaled to unit variance.
        hidden: Width of the hidden layer of ``mlp``.
    """

    DEFAULT_STRENGTHS: ClassVar[tuple[float, ...]] = (1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5)

    name: Literal["probe"] = "probe"
    classifier: Literal["logistic", "mlp"] = "logistic"
    strengths: tuple[float, ...] = DEFAULT_STRENGTHS
    hidden: int = 256

    def __post_init__(self) -> None:
        if not self.strengths or not all(value > 0 and math.isfinite(value) for value in self.strengths):
            raise ConfigError(f"method.strengths is {list(self.strengths)}; give numbers above 0.")
        if self.hidden < 1:
            raise ConfigError(f"method.hidden is {self.hidden}; it must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class LoraMethodConfig(MethodConfig):
    """The model is frozen but for low-rank adapters on its linear maps; they are merged into the saved model.

    Args:
        rank: Of each adapter.
        alpha: Adapters are scaled by ``alpha / rank``.
        dropout: Part of its input features that an adapter does not see, drawn anew for each batch.
        targets: Patterns of module names in the backbone, such as ``*.in_proj``; null takes all of mixers and MLPs.
    """

    name: Literal["lora"] = "lora"
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self.adapters()

    def adapters(self) -> LoraConfig:
        """Return the same, as the adapters take it.

        Raises:
            ConfigError: if a value is impossible.
        """
        return LoraConfig(rank=self.rank, alpha=self.alpha, dropout=self.dropout, targets=self.targets)


@dataclass(frozen=True, kw_only=True)
class SoftPromptConfig(MethodConfig):
    """The model is frozen: vectors before the embedding of every sequence are trained, and the head.

    HyenaDNA's in-context tuning, with a linear head in the place of the label tokens that it reads. Published:
    2 to 32,768 vectors, drawn with a deviation of 0.02, AdamW with a learning rate of 1e-3 and no weight decay.

    Args:
        n_tokens: Vectors; as many bases fewer fit into the model's longest input.
        dropout: Part of their features that a training step does not see.
    """

    name: Literal["soft_prompt"] = "soft_prompt"
    n_tokens: int = 32
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.n_tokens < 1:
            raise ConfigError(f"method.n_tokens is {self.n_tokens}; it must be at least 1.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"method.dropout is {self.dropout}; it must be at least 0 and below 1.")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What training minimises; metrics are never weighted or smoothed.

    Cross-entropy over classes, binary cross-entropy over labels, and for numbers one of ``regression``.

    Args:
        regression: ``mse``; ``huber``, linear beyond an error of one standard deviation; or ``poisson``, for counts,
            of which the model predicts the logarithm of the mean.
        class_weights: ``balanced`` makes every class count alike; numbers are one a class, in the order of the class
            names. Weights are scaled to a mean of 1 over the training set.
        label_smoothing: Part of the target that is spread over all classes.
    """

    regression: RegressionLoss = "mse"
    class_weights: tuple[float, ...] | Literal["balanced"] | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                f"loss.label_smoothing is {self.label_smoothing}; it must be at least 0 and below 1."
            )
        weights = self.class_weights
        if isinstance(weights, tuple) and not all(value > 0 and math.isfinite(value) for value in weights):
            raise ConfigError(f"loss.class_weights is {list(weights)}; each must be above 0.")

    def weights(
        self, labels: Int64[np.ndarray, " n"], class_names: tuple[str, ...]
    ) -> Float[Tensor, " C"] | None:
        """Return the weight of each class in the loss, with a mean of 1 over the labels; None for none.

        Args:
            labels: Class indices of the training set.
            class_names: Names of the classes.

        Raises:
            ConfigError: if there is not one weight a class.
        """
        if self.class_weights is None:
            return None
        counts = np.bincount(labels, minlength=len(class_names))
        if self.class_weights == "balanced":
            weights = 1 / np.maximum(counts, 1)
        elif len(self.class_weights) == len(class_names):
            weights = np.array(self.class_weights)
        else:
            raise ConfigError(
                f"loss.class_weights has {len(self.class_weights)} values for {len(class_names)} classes; give one for "
                f"each of {preview(class_names)}."
            )
        return torch.tensor(weights * counts.sum() / (weights @ counts), dtype=torch.float32)
