"""Order-k Markov models of DNA: the baseline that a language model has to beat.

The probability of base ``b`` after its context ``c`` of ``k`` bases falls back, order by order, on shorter contexts:

    P_j(b | c_j) = (n(c_j b) + alpha * P_{j-1}(b | c_{j-1})) / (n(c_j) + alpha),   P_{-1} = 1/4

with ``n`` the counts in the training bases: a Dirichlet prior around the next shorter order (MacKay & Peto 1995).
A base whose context is cut by an N or by the start of its sequence is predicted from what context there is, so every
order scores exactly the same bases.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genomix.training.word_counts import MAX_ORDER, Codes, WordCounts, count_words


@dataclass
class MarkovModel:
    """Markov models of every order from 0 to ``order``, fitted together.

    Args:
        order: Largest number of context bases.
        alpha: Strength of the prior, in pseudo-counts for a whole context.
        both_strands: Count each training sequence and its reverse complement.
    """

    order: int
    alpha: float = 4.0
    both_strands: bool = False
    _counts: WordCounts | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.order <= MAX_ORDER:
            raise ValueError(f"order is {self.order}; it must lie between 0 and {MAX_ORDER}")
        if self.alpha <= 0:
            raise ValueError(f"alpha is {self.alpha}; the prior needs a positive strength")

    def fit(self, sequences: Iterable[Codes]) -> "MarkovModel":
        """Count the words of the training sequences (see `base_codes`) and return the model itself."""
        counts = count_words(sequences, self.order)
        return self.fit_counts(counts.with_other_strand() if self.both_strands else counts)

    def fit_counts(self, counts: WordCounts) -> "MarkovModel":
        """Take the counts of training words, up to this order at least, and return the model itself."""
        self._counts = counts
        self.__dict__.pop("log_p", None)
        return self

    @cached_property
    def log_p(self) -> list[NDArray[np.floating]]:
        """For every order the log-probability (nats) of the last base of every word given the bases before it."""
        assert self._counts is not None, "fit the model first"
        p = np.array([0.25])
        result: list[NDArray[np.floating]] = []
        for counts in self._counts.tables[: self.order + 1]:
            # Words as (first base, the rest): the rest is the word of the next shorter order.
            weighted = (counts.reshape(4, -1) + self.alpha * p).reshape(-1, 4)
            p = (weighted / (counts.reshape(-1, 4).sum(axis=1, keepdims=True) + self.alpha)).reshape(-1)
            result.append(np.log(p))
        return result

    def bits_per_base(
        self, sequences: Sequence[Codes], scored: Sequence[NDArray[np.bool_]] | None = None
    ) -> NDArray[np.float64]:
        """Return the mean ``-log2 P`` of every order over the scored bases, ``(order + 1,)``.

        Args:
            sequences: Held-out sequences as codes.
            scored: For each sequence which bases count; by default every A, C, G and T.

        Raises:
            ValueError: if no base is scored.
        """
        return count_words(sequences, self.order, scored).bits_per_base(self.log_p)
