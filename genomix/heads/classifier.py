"""Sequence classification: the outputs are the logits of classes, of which a sequence has one."""

from genomix.heads.sequence_model import SequenceModel


class SequenceClassifier(SequenceModel):
    """Token ids to class logits; see `SequenceModel`."""

    kind = "classifier"
    size_name = "n_classes"

    @property
    def n_classes(self) -> int:
        """Classes."""
        return self.n_outputs
