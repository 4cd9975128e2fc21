"""Sequence classification: a pretrained backbone, pooling over real positions, and one linear map."""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from genomix.heads.pooling import Pooling, check_pooling, pool
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA, HyenaDNABackbone


class SequenceClassifier(nn.Module):
    """Token ids to class logits; the result of a sequence is the same alone and in any right-padded batch.

    The parameters are named as in the official standalone release: ``backbone.*`` and ``head.output_transform.*``.

    Args:
        backbone: A language model, whose backbone is taken over (not copied), or a backbone.
        n_classes: Outputs.
        pooling: How positions become one vector; see `genomix.heads.pooling`.
        dropout: Between pooling and the linear map.
    """

    def __init__(
        self,
        backbone: HyenaDNA | HyenaDNABackbone,
        n_classes: int,
        *,
        pooling: Pooling = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if n_classes < 1:
            raise ValueError(f"n_classes is {n_classes}; it must be at least 1.")
        check_pooling(pooling)
        self.backbone = backbone.backbone if isinstance(backbone, HyenaDNA) else backbone
        self.n_classes = n_classes
        self.pooling: Pooling = pooling
        self.head = ClassificationHead(self.config.d_model, n_classes, dropout)

    @property
    def config(self) -> HyenaDNAConfig:
        """Config of the backbone."""
        return self.backbone.config

    def forward(
        self, ids: Int[Tensor, "B L"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B C"]:
        """Return the class logits.

        Args:
            ids: Token ids, padded on the right.
            lengths: Real tokens of each sequence; None for all.

        Raises:
            SequenceTooLongError: if there are more than ``l_max`` tokens.
        """
        logits: Tensor = self.head(self.embed(ids, lengths))
        return logits

    def embed(
        self, ids: Int[Tensor, "B L"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Return the pooled hidden states, the input of the head."""
        return pool(self.backbone(ids), lengths, self.pooling)

    def head_settings(self) -> dict[str, Any]:
        """Return what rebuilds the head, ready for JSON."""
        return {
            "kind": "classifier",
            "n_classes": self.n_classes,
            "pooling": self.pooling,
            "dropout": self.head.dropout.p,
        }


class ClassificationHead(nn.Module):
    """Dropout and one linear map, initialized by PyTorch's default as in the official code."""

    def __init__(self, d_model: int, n_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output_transform = nn.Linear(d_model, n_classes)

    def forward(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Return the class logits."""
        logits: Tensor = self.output_transform(self.dropout(pooled))
        return logits
