"""A backbone, pooling over real positions, and a small head: one row of outputs a sequence."""

from typing import Any, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from genomix.heads.pooling import N_WINDOWS, Pooling, SequencePooling
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA, HyenaDNABackbone

HeadKind = Literal["classifier", "multilabel", "regressor", "token_classifier"]
"""What outputs mean; how a checkpoint names its head."""


class SequenceModel(nn.Module):
    """Token ids to outputs; those of a sequence are the same alone and in any right-padded batch.

    The parameters are named as in the official standalone release: ``backbone.*`` and ``head.output_transform.*``.
    Children say what the outputs mean.

    Args:
        backbone: A language model, whose backbone is taken over (not copied), or a backbone.
        n_outputs: Outputs.
        pooling: How positions become one vector; see `genomix.heads.pooling`.
        dropout: Between pooling and the linear map.
        n_windows: Parts of the pooling ``window``.
        hidden: Width of a hidden layer in the head; 0 for none.
    """

    kind: HeadKind
    size_name: str
    """Name of the number of outputs, for people: ``n_classes``."""

    def __init__(
        self,
        backbone: HyenaDNA | HyenaDNABackbone,
        n_outputs: int,
        *,
        pooling: Pooling = "mean",
        dropout: float = 0.0,
        n_windows: int = N_WINDOWS,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        if n_outputs < 1:
            raise ValueError(f"{self.size_name} is {n_outputs}; it must be at least 1.")
        self.backbone = backbone.backbone if isinstance(backbone, HyenaDNA) else backbone
        self.n_outputs = n_outputs
        self.pooling: Pooling = pooling
        self.pooler = SequencePooling(self.config.d_model, pooling, n_windows=n_windows)
        self.head = PooledHead(self.pooler.out_features, n_outputs, dropout, hidden)

    @property
    def config(self) -> HyenaDNAConfig:
        """Config of the backbone."""
        return self.backbone.config

    def forward(
        self, ids: Int[Tensor, "B L"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B C"]:
        """Return the outputs of the head.

        Args:
            ids: Token ids, padded on the right.
            lengths: Real tokens of each sequence; None for all.

        Raises:
            SequenceTooLongError: if there are more than ``l_max`` tokens.
        """
        outputs: Tensor = self.head(self.embed(ids, lengths))
        return outputs

    def embed(
        self, ids: Int[Tensor, "B L"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B E"]:
        """Return the pooled hidden states, the input of the head."""
        pooled: Tensor = self.pooler(self.backbone(ids), lengths)
        return pooled

    def head_settings(self) -> dict[str, Any]:
        """Return what rebuilds the head, ready for JSON."""
        settings: dict[str, Any] = {
            "kind": self.kind,
            self.size_name: self.n_outputs,
            "pooling": self.pooling,
            "dropout": self.head.dropout.p,
        }
        if self.pooling == "window":
            settings["n_windows"] = self.pooler.n_windows
        if self.head.hidden is not None:
            settings["hidden"] = self.head.hidden.out_features
        return settings


class PooledHead(nn.Module):
    """Dropout and one linear map, initialized by PyTorch's default as in the official code.

    Args:
        in_features: Width of the pooled hidden states.
        n_outputs: Outputs.
        dropout: Before each linear map.
        hidden: Width of a hidden layer with GELU before the output; 0 for none.
    """

    def __init__(self, in_features: int, n_outputs: int, dropout: float = 0.0, hidden: int = 0) -> None:
        super().__init__()
        self.in_features = in_features
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(in_features, hidden) if hidden else None
        self.output_transform = nn.Linear(hidden or in_features, n_outputs)

    def forward(self, pooled: Float[Tensor, "*shape E"]) -> Float[Tensor, "*shape C"]:
        """Return the outputs."""
        if self.hidden is not None:
            pooled = F.gelu(self.hidden(self.dropout(pooled)))
        outputs: Tensor = self.output_transform(self.dropout(pooled))
        return outputs
