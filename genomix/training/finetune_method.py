"""How much of a model fine-tuning trains: all of it, a head on frozen embeddings, or low-rank adapters and a head."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from genomix.adapters.lora import LoraConfig
from genomix.training.build import build_fields, convert
from genomix_data.errors import ConfigError, preview

METHODS = ("full", "probe", "lora")


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """What is trained; one of `FullConfig`, `ProbeConfig` and `LoraMethodConfig`, told apart by ``name``."""

    name: str

    @classmethod
    def from_values(cls, values: Mapping[str, Any], prefix: str = "method") -> "MethodConfig":
        """Return the config made of values as they stand in YAML."""
        kinds: dict[str, type[MethodConfig]] = {
            "full": FullConfig,
            "probe": ProbeConfig,
            "lora": LoraMethodConfig,
        }
        name = convert(values.get("name", "full"), Literal["full", "probe", "lora"], f"{prefix}.name")
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
class LossConfig:
    """Cross-entropy over the classes, as training sees it; metrics are never weighted or smoothed.

    Args:
        class_weights: ``balanced`` makes every class count alike; numbers are one a class, in the order of the class
            names. Weights are scaled to a mean of 1 over the training set.
        label_smoothing: Part of the target that is spread over all classes.
    """

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
        self, labels: Int64[NDArray[np.int64], " n"], class_names: tuple[str, ...]
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
