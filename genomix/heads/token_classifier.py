"""A class for each base: segmentation, splice sites."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genomix.heads.backbone import Backbone, backbone_of, hidden_states
from genomix.heads.pooling import checked_lengths
from genomix.heads.sequence_model import HeadKind, PooledHead
from genomix.heads.strands import N_IDS, mirror, reverse_complement_ids
from genomix.models.families import AnyConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.operators.recompute import Recompute


class TokenClassifier(nn.Module):
    """Token ids to class logits of every base; those of a sequence are the same alone and in any right-padded batch.

    The backbone is causal: its state at a base knows nothing of what follows, and the signals of a splice site lie on
    both sides of it. With ``lookahead`` the class of base t is read from the state at base ``t + lookahead`` (the last
    state, for the last bases of a sequence).

    Args:
        backbone: A language model of either family, whose backbone is taken over (not copied), or a backbone.
        n_classes: Classes of a base.
        lookahead: Bases after a base that its class may depend on.
        dropout: Before the linear map.
        hidden: Width of a hidden layer in the head; 0 for none.
        rc_invariant: Give the head the mean of the states of both strands at a base, in training and after it: its
            class then depends on what stands on either side, and is the same on both strands, as that of a label that
            knows no strand (open chromatin, say, and not a splice donor) should be.
    """

    kind: HeadKind = "token_classifier"

    def __init__(
        self,
        backbone: HyenaDNA | Backbone,
        n_classes: int,
        *,
        lookahead: int = 0,
        dropout: float = 0.0,
        hidden: int = 0,
        rc_invariant: bool = False,
    ) -> None:
        super().__init__()
        if n_classes < 1:
            raise ValueError(f"n_classes is {n_classes}; it must be at least 1.")
        if lookahead < 0:
            raise ValueError(f"lookahead is {lookahead}; it must not be negative.")
        self.backbone = backbone_of(backbone)
        self.n_classes = n_classes
        self.lookahead = lookahead
        self.head = PooledHead(self.config.d_model, n_classes, dropout, hidden)
        self.rc_invariant = rc_invariant
        if rc_invariant:
            self.register_buffer("complement", torch.zeros(N_IDS, dtype=torch.uint8))

    @property
    def config(self) -> AnyConfig:
        """Config of the backbone."""
        config: AnyConfig = self.backbone.config
        return config

    @property
    def recompute(self) -> Recompute:
        """What the blocks of the backbone compute again in the backward pass."""
        policy: Recompute = self.backbone.recompute
        return policy

    @property
    def n_outputs(self) -> int:
        """Outputs of a base: its classes."""
        return self.n_classes

    @property
    def prompt_len(self) -> int:
        """Positions that a soft prompt takes from the longest input: there is none for single bases."""
        return 0

    def forward(
        self, ids: Int[Tensor, "B L"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B L C"]:
        """Return the class logits of every position; those of padding mean nothing.

        Args:
            ids: Token ids, padded on the right.
            lengths: Real tokens of each sequence; None for all.

        Raises:
            SequenceTooLongError: if there are more tokens than the model takes.
        """
        if self.rc_invariant:
            other = reverse_complement_ids(ids, lengths, self.get_buffer("complement"))
            both = self._states(torch.cat([ids, other]), None if lengths is None else lengths.repeat(2))
            forward, backward = both.view(2, len(ids), *both.shape[1:]).unbind()
            hidden = (forward + mirror(backward, lengths)) / 2
        else:
            hidden = self._states(ids, lengths)
        logits: Tensor = self.head(hidden)
        return logits

    def _states(self, ids: Int[Tensor, "B L"], lengths: Int[Tensor, " B"] | None) -> Float[Tensor, "B L D"]:
        hidden = hidden_states(self.backbone, ids)
        if not self.lookahead:
            return hidden
        last = checked_lengths(hidden, lengths) - 1
        place = torch.arange(hidden.shape[1], device=hidden.device) + self.lookahead
        place = torch.minimum(place, last[:, None])  # (B, L)
        return hidden.gather(1, place[..., None].expand_as(hidden))

    def head_settings(self) -> dict[str, Any]:
        """Return what rebuilds the head, ready for JSON."""
        settings: dict[str, Any] = {
            "kind": self.kind,
            "n_classes": self.n_classes,
            "lookahead": self.lookahead,
            "dropout": self.head.dropout.p,
            "hidden": 0 if self.head.hidden is None else self.head.hidden.out_features,
        }
        if self.rc_invariant:
            settings["rc_invariant"] = True
        return settings
