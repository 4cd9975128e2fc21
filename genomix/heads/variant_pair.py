"""Variants as pairs of sequences: a class from what changes between the embeddings of REF and ALT."""

from typing import Any, Literal, Unpack, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genomix.heads.backbone import Backbone
from genomix.heads.sequence_model import HeadOptions, SequenceModel
from genomix.models.hyenadna.model import HyenaDNA

PairFeatures = Literal["difference", "both"]
PAIR_FEATURES: tuple[str, ...] = get_args(PairFeatures)


class VariantPairClassifier(SequenceModel):
    """Ids of REF and ALT to class logits; see `SequenceModel`.

    Args:
        backbone: As in `SequenceModel`.
        n_classes: Classes.
        pair: What the head reads: the ``difference`` of the pooled states, ALT - REF; or ``both``, the states of REF
            and the difference side by side, for effects that depend on what stood there.
        options: As in `SequenceModel`.
    """

    kind = "variant_classifier"
    size_name = "n_classes"

    def __init__(
        self,
        backbone: HyenaDNA | Backbone,
        n_classes: int,
        *,
        pair: PairFeatures = "difference",
        **options: Unpack[HeadOptions],
    ) -> None:
        if pair not in PAIR_FEATURES:
            raise ValueError(f"pair is {pair!r}; it must be one of {', '.join(PAIR_FEATURES)}.")
        self.pair: PairFeatures = pair
        super().__init__(backbone, n_classes, **options)

    @property
    def n_classes(self) -> int:
        """Classes."""
        return self.n_outputs

    def _head_features(self) -> int:
        return self.pooler.out_features * (2 if self.pair == "both" else 1)

    def forward(
        self, ids: Int[Tensor, "B 2 L"], lengths: Int[Tensor, "B 2"] | None = None
    ) -> Float[Tensor, "B C"]:
        """Return the class logits of each pair; see `embed`."""
        outputs: Tensor = self.head(self.embed(ids, lengths))
        return outputs

    def embed(
        self, ids: Int[Tensor, "B 2 L"], lengths: Int[Tensor, "B 2"] | None = None
    ) -> Float[Tensor, "B E"]:
        """Return the input of the head.

        Args:
            ids: Token ids of REF and ALT, padded on the right.
            lengths: Real tokens of both; None for all.
        """
        pooled = super().embed(ids.flatten(0, 1), None if lengths is None else lengths.flatten())
        ref, alt = pooled.view(len(ids), 2, -1).unbind(dim=1)
        return torch.cat([ref, alt - ref], dim=1) if self.pair == "both" else alt - ref

    def head_settings(self) -> dict[str, Any]:
        """Return what rebuilds the head, ready for JSON."""
        return {**super().head_settings(), "pair": self.pair}
