"""Which bases an output depends on: input x gradient, integrated gradients, in-silico mutagenesis."""

from genomix.attribution.attribute import METHODS, Attribution, Method, attribute
from genomix.attribution.targets import HeadOutput, LogLikelihood, Target

__all__ = ["METHODS", "Attribution", "HeadOutput", "LogLikelihood", "Method", "Target", "attribute"]
