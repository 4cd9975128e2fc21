"""A class for each base: segmentation, splice sites."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genomix.heads.pooling import checked_lengths
from genomix.heads.sequence_model import HeadKind, PooledHead
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA, HyenaDNABackbone


class TokenClassifier(nn.Module):
    """Token ids to class logits of every base; those of a sequence are the same alone and in any right-padded batch.

    The backbone is causal: its state at a base knows nothing of what follows, and the signals of a splice site lie on
    both sides of it. With ``lookahead`` the class of base t is read from the state at base ``t + lookahead`` (the last
    state, for the last bases of a sequence).

    Args:
        backbone: A language model, whose backbone is taken over (not copied), or a backbone.
        n_classes: Classes of a base.
        lookahead: Bases after a base that its class may depend on.
        dropout: Before the linear map.
        hidden: Width of a hidden layer in the head; 0 for none.
    """

    kind: HeadKind = "token_classifier"

    def __init__(
        self,
        backbone: HyenaDNA | HyenaDNABackbone,
        n_classes: int,
        *,
        lookahead: int = 0,
        dropout: float = 0.0,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        if n_classes < 1:
            raise ValueError(f"n_classes is {n_classes}; it must be at least 1.")
        if lookahead < 0:
            raise ValueError(f"lookahead is {lookahead}; it must not be negative.")
        self.backbone = backbone.backbone if isinstance(backbone, HyenaDNA) else backbone
        self.n_classes = n_classes
        self.lookahead = lookahead
        self.head = PooledHead(self.config.d_model, n_classes, dropout, hidden)

    @property
    def config(self) -> HyenaDNAConfig:
        """Config of the backbone."""
        return self.backbone.config

    def forward(
        self, ids: Int[Tensor, "B L"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L C"]:
        """Return the class logits of every position; those of padding mean nothing.

        Args:
            ids: Token ids, padded on the right.
            lengths: Real tokens of each sequence; None for all.

        Raises:
            SequenceTooLongError: if there are more than ``l_max`` tokens.
        """
        hidden = self.backbone(ids)
        if self.lookahead:
            last = checked_lengths(hidden, lengths) - 1
            place = torch.arange(hidden.shape[1], device=hidden.device) + self.lookahead
            place = torch.minimum(place, last[:, None])  # (B, L)
            hidden = hidden.gather(1, place[..., None].expand_as(hidden))
        logits: Tensor = self.head(hidden)
        return logits

    def head_settings(self) -> dict[str, Any]:
        """Return what rebuilds the head, ready for JSON."""
        return {
            "kind": self.kind,
            "n_classes": self.n_classes,
            "lookahead": self.lookahead,
            "dropout": self.head.dropout.p,
            "hidden": 0 if self.head.hidden is None else self.head.hidden.out_features,
        }
