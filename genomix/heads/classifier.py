"""Sequence classification: the outputs are the logits of classes, of which a sequence has one."""

from genomix.heads.pooling import N_WINDOWS, Pooling
from genomix.heads.sequence_model import SequenceModel
from genomix.models.hyenadna.model import HyenaDNA, HyenaDNABackbone


class SequenceClassifier(SequenceModel):
    """Token ids to class logits; see `SequenceModel`."""

    kind = "classifier"
    size_name = "n_classes"

    def __init__(
        self,
        backbone: HyenaDNA | HyenaDNABackbone,
        n_classes: int,
        *,
        pooling: Pooling = "mean",
        dropout: float = 0.0,
        n_windows: int = N_WINDOWS,
        hidden: int = 0,
    ) -> None:
        super().__init__(
            backbone, n_classes, pooling=pooling, dropout=dropout, n_windows=n_windows, hidden=hidden
        )

    @property
    def n_classes(self) -> int:
        """Classes."""
        return self.n_outputs
