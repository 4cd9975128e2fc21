"""Order-k Markov models of DNA: the baseline that a language model has to beat.

The probability of base ``b`` after its context ``c`` of ``k`` bases falls back, order by order, on shorter contexts:

    P_j(b | c_j) = (n(c_j b) + alpha * P_{j-1}(b | c_{j-1})) / (n(c_j) + alpha),   P_{-1} = 1/4

with ``n`` the counts in the training bases: a Dirichlet prior around the next shorter order (MacKay & Peto 1995).
A base whose context is cut by an N or by the start of its sequence is predicted from what context there is, so every
order scores exactly the same bases. Everything is counted and looked up by numpy, with no Python loop over bases.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
"""One sequence as 0, 1, 2, 3 for A, C, G, T, and `OTHER` for anything else."""

OTHER = 4
MAX_ORDER = 12
"""Larger tables of counts (4^13 words) would not fit an ordinary machine."""
CHUNK = 1 << 22
"""Bases looked at together, so that memory does not grow with the genome."""

_CODE_OF_BYTE = np.full(256, OTHER, dtype=np.uint8)
for _code, _letters in enumerate((b"Aa", b"Cc", b"Gg", b"Tt")):
    _CODE_OF_BYTE[list(_letters)] = _code


def base_codes(sequence: bytes) -> Codes:
    """Return a sequence as codes 0-3 for A, C, G, T in either case, and 4 for every other letter."""
    return _CODE_OF_BYTE[np.frombuffer(sequence, dtype=np.uint8)]


def complement_codes(codes: Codes) -> Codes:
    """Return the reverse complement of a coded sequence."""
    reverse = codes[::-1]
    return np.where(reverse < OTHER, 3 - reverse, reverse).astype(np.uint8)


@dataclass(slots=True)
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
    _counts: list[NDArray[np.int64]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 <= self.order <= MAX_ORDER:
            raise ValueError(f"order is {self.order}; it must lie between 0 and {MAX_ORDER}")
        if self.alpha <= 0:
            raise ValueError(f"alpha is {self.alpha}; the prior needs a positive strength")

    def fit(self, sequences: Iterable[Codes]) -> "MarkovModel":
        """Count the words of the training sequences (codes, see `base_codes`) and return the model itself."""
        self._counts = [np.zeros(4 ** (k + 1), dtype=np.int64) for k in range(self.order + 1)]
        for codes in sequences:
            for strand in (codes, complement_codes(codes)) if self.both_strands else (codes,):
                for piece, lead in _chunks(strand, self.order):
                    for k, words, whole in _words_of_every_order(piece, self.order):
                        ends_here = words[lead:][whole[lead:]]
                        self._counts[k] += np.bincount(ends_here, minlength=4 ** (k + 1))
        return self

    def log2_probabilities(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(order + 1, L)``: log2 P of each base given up to 0, 1, ..., ``order`` bases before it.

        The value at a base that is not A, C, G or T is NaN.
        """
        assert self._counts, "fit the model first"
        known = codes < OTHER
        probability = np.full(len(codes), 0.25)
        result = np.full((self.order + 1, len(codes)), np.nan)
        for k, words, whole in _words_of_every_order(codes, self.order):
            counts = self._counts[k]
            contexts = counts.reshape(-1, 4).sum(axis=1)
            seen, context = counts[words[whole]], contexts[words[whole] // 4]
            probability[whole] = (seen + self.alpha * probability[whole]) / (context + self.alpha)
            result[k, known] = np.log2(probability[known])
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
        total, n = np.zeros(self.order + 1), 0
        for number, codes in enumerate(sequences):
            counted = codes < OTHER
            if scored is not None:
                counted = counted & scored[number]
            start = 0
            for piece, lead in _chunks(codes, self.order):
                here = counted[start : start + len(piece) - lead]
                total -= self.log2_probabilities(piece)[:, lead:][:, here].sum(axis=1)
                start += len(here)
            n += int(counted.sum())
        if n == 0:
            raise ValueError("no base to score: the sequences hold no A, C, G or T")
        return total / n


def _chunks(codes: Codes, order: int) -> Iterator[tuple[Codes, int]]:
    """Yield pieces of a sequence, each with up to ``order`` bases of the piece before it, and how many those are."""
    for start in range(0, len(codes), CHUNK):
        lead = min(order, start)
        yield codes[start - lead : start + CHUNK], lead


def _words_of_every_order(
    codes: Codes, order: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield k, the word of ``k + 1`` bases that ends at each position, and whether it is all A, C, G, T."""
    is_base = codes < OTHER
    letters = np.where(is_base, codes, 0).astype(np.int64)
    words, whole = letters.copy(), is_base.copy()
    yield 0, words, whole
    for k in range(1, order + 1):
        # The word grows by one base on its left.
        rest = max(len(codes) - k, 0)
        words[k:] += letters[:rest] << (2 * k)
        whole[k:] &= is_base[:rest]
        whole[:k] = False
        yield k, words, whole
