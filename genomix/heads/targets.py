"""Heads with several targets a sequence: labels that do not exclude each other, and numbers."""

from typing import Any, Literal, Unpack

from jaxtyping import Float, Int
from torch import Tensor

from genomix.heads.backbone import Backbone
from genomix.heads.sequence_model import HeadOptions, SequenceModel
from genomix.models.hyenadna.model import HyenaDNA

Link = Literal["identity", "log"]


class MultiLabelClassifier(SequenceModel):
    """Token ids to one logit a label, such as the 919 chromatin features of DeepSEA; see `SequenceModel`."""

    kind = "multilabel"
    size_name = "n_labels"

    def probabilities(
        self, ids: Int[Tensor, "B L"], lengths: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B C"]:
        """Return the probability of each label, in fp32."""
        logits: Tensor = self(ids, lengths)
        return logits.float().sigmoid()


class SequenceRegressor(SequenceModel):
    """Token ids to one number a target, such as the activity of a reporter; see `SequenceModel`.

    Args:
        backbone: As in `SequenceModel`.
        n_targets: Numbers.
        link: ``log`` where the outputs are logarithms of what is expected, as with the loss ``poisson`` (counts).
        options: As in `SequenceModel`.
    """

    kind = "regressor"
    size_name = "n_targets"

    def __init__(
        self,
        backbone: HyenaDNA | Backbone,
        n_targets: int,
        *,
        link: Link = "identity",
        **options: Unpack[HeadOptions],
    ) -> None:
        if link not in ("identity", "log"):
            raise ValueError(f"link is {link!r}; it must be identity or log.")
        super().__init__(backbone, n_targets, **options)
        self.link: Link = link

    def head_settings(self) -> dict[str, Any]:
        """Return what rebuilds the head, ready for JSON."""
        return {**super().head_settings(), **({"link": "log"} if self.link == "log" else {})}
