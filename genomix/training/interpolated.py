"""A context model that mixes all orders: what is known of a base from its last bases, however many have been seen.

    P_k(b | c_k) = w n(c_k b) / n(c_k) + (1 - w) P_{k-1}(b | c_{k-1}),   P_{-1} = 1/4

The weight ``w`` of what was counted after a context depends on the order and on how often the context occurred (in
classes, each twice the one before), and is fitted to validation bases: deleted interpolation (Jelinek & Mercer 1980).
Where a Markov model of high order has seen too little, this one leans on shorter contexts by as much as pays off.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from genomix.training.word_counts import WordCounts

CLASSES = 40
_HALVINGS = 16


@dataclass
class InterpolatedModel:
    """Context models of every order from 0 to that of the counts, each mixed with all shorter ones.

    Args:
        counts: Words of the training bases.
        weights: For each order, the weight of each class of contexts; made by `fit`.
    """

    counts: WordCounts
    weights: list[Float64[np.ndarray, " classes"]] = field(default_factory=list)
    log_p: list[NDArray[np.floating]] = field(default_factory=list, repr=False)

    def fit(self, validation: WordCounts) -> "InterpolatedModel":
        """Find the weights that make the validation bases likeliest, from the shortest context up; return the model.

        Args:
            validation: Words of bases that were not trained on; at least one.

        Raises:
            ValueError: if there are none.
        """
        if validation.n == 0:
            raise ValueError("no base to fit the weights to: the validation holds no A, C, G or T")
        self.weights, self.log_p = [], []
        p = np.array([0.25])
        for k, counts in enumerate(self.counts.tables):
            contexts = counts.reshape(-1, 4).sum(axis=1)
            seen = np.repeat(contexts, 4)
            counted = np.divide(counts, seen, out=np.zeros(len(counts)), where=seen > 0)
            shorter = np.tile(p, len(counts) // len(p))
            kind = np.repeat(np.frexp(contexts.astype(np.float64))[1], 4)  # 0 where a context was never seen
            used = np.flatnonzero(validation.tables[k])
            weights = _best_weights(
                shorter[used], counted[used], kind[used], validation.tables[k][used].astype(np.float64)
            )
            weight = weights[kind]
            p = shorter + weight * (counted - shorter)
            self.weights.append(weights)
            self.log_p.append(np.log(p))
        return self


def _best_weights(
    shorter: Float64[np.ndarray, " words"],
    counted: Float64[np.ndarray, " words"],
    kind: NDArray[np.int_],
    times: Float64[np.ndarray, " words"],
) -> Float64[np.ndarray, " classes"]:
    """Return the weight of each class that maximises ``sum(times log(shorter + w (counted - shorter)))``.

    The sum is concave in each weight, so its slope has one zero, found by halving. No weight is 1, as what was never
    counted may come.
    """
    change = counted - shorter
    low, high = np.zeros(CLASSES), np.full(CLASSES, 1.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        slope = np.bincount(kind, times * change / (shorter + middle[kind] * change), minlength=CLASSES)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    low[0] = 0.0  # contexts that were never seen say nothing
    return low
