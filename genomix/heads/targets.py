"""Heads with several targets a sequence: labels that do not exclude each other, and numbers."""

from jaxtyping import Float, Int
from torch import Tensor

from genomix.heads.sequence_model import SequenceModel


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

    With the loss ``poisson`` (counts) the number is the logarithm of what is expected.
    """

    kind = "regressor"
    size_name = "n_targets"
