"""Sequence classification: the outputs are the logits of classes, of which a sequence has one."""

from typing import Unpack

from genomix.heads.backbone import Backbone
from genomix.heads.sequence_model import HeadOptions, SequenceModel
from genomix.models.hyenadna.model import HyenaDNA


class SequenceClassifier(SequenceModel):
    """Token ids to class logits; see `SequenceModel`."""

    kind = "classifier"
    size_name = "n_classes"

    def __init__(self, backbone: HyenaDNA | Backbone, n_classes: int, **options: Unpack[HeadOptions]) -> None:
        super().__init__(backbone, n_classes, **options)

    @property
    def n_classes(self) -> int:
        """Classes."""
        return self.n_outputs
