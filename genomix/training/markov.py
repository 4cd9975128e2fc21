"""Order-k Markov models of DNA: the baseline that a language model has to beat.

The probability of base ``b`` after the ``k`` bases of its context ``c`` falls back, order by order, on shorter contexts:

    P_j(b | c_j) = (n(c_j b) + alpha * P_{j-1}(b | c_{j-1})) / (n(c_j) + alpha),   P_{-1} = 1/4

with ``n`` the counts in the training bases: a Dirichlet prior around the next shorter order (MacKay & Peto 1995).
A base whose context is cut by an N or by the start of its sequence is predicted from what context there is, so every
order scores exactly the same bases. Everything is counted and looked up by numpy, with no Python loop over bases.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
"""One sequence as 0, 1, 2, 3 for A, C, G, T, and `OTHER` for anything else."""

OTHER = 4
DENSE_LIMIT = 1 << 22
"""Largest count table (entries) kept as an array; beyond it only the words that occur are kept."""

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


@dataclass(frozen=True, slots=True)
class _Counts:
    """How often each word (context and next base, as one number in base 4) occurs."""

    words: NDArray[np.int64] | None
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, words: NDArray[np.int64], length: int) -> "_Counts":
        if 4**length <= DENSE_LIMIT:
            return cls(None, np.bincount(words, minlength=4**length))
        unique, counts = np.unique(words, return_counts=True)
        return cls(unique, counts)

    def look_up(self, words: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.words is None:
            return self.counts[words]
        if not len(self.words):
            return np.zeros(len(words), dtype=np.int64)
        place = np.minimum(np.searchsorted(self.words, words), len(self.words) - 1)
        return np.where(self.words[place] == words, self.counts[place], 0)


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
    _words: list[_Counts] = field(default_factory=list)
    _contexts: list[_Counts] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 <= self.order <= 24:
            raise ValueError(f"order is {self.order}; it must lie between 0 and 24")
        if self.alpha <= 0:
            raise ValueError(f"alpha is {self.alpha}; the prior needs a positive strength")

    def fit(self, sequences: Iterable[Codes]) -> "MarkovModel":
        """Count the words of the training sequences (codes, see `base_codes`) and return the model itself."""
        strands: list[Codes] = []
        for codes in sequences:
            strands.append(codes)
            if self.both_strands:
                strands.append(complement_codes(codes))
        self._words, self._contexts = [], []
        for k in range(self.order + 1):
            words = np.concatenate(
                [_whole_words(codes, k + 1) for codes in strands] or [np.empty(0, np.int64)]
            )
            self._words.append(_Counts.of(words, k + 1))
            self._contexts.append(_Counts.of(words // 4, k))
        return self

    def log2_probabilities(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(order + 1, L)``: log2 P of each base given up to 0, 1, ..., ``order`` bases before it.

        The value at a base that is not A, C, G or T is NaN.
        """
        assert self._words, "fit the model first"
        known = codes < OTHER
        probability = np.full(len(codes), 0.25)
        result = np.full((self.order + 1, len(codes)), np.nan)
        for k, (words_seen, contexts_seen) in enumerate(zip(self._words, self._contexts, strict=True)):
            words, whole = _words_ending_at(codes, k + 1)
            seen = words_seen.look_up(words[whole])
            context = contexts_seen.look_up(words[whole] // 4)
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
            total -= self.log2_probabilities(codes)[:, counted].sum(axis=1)
            n += int(counted.sum())
        if n == 0:
            raise ValueError("no base to score: the sequences hold no A, C, G or T")
        return total / n


def _words_ending_at(codes: Codes, length: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the word of ``length`` bases that ends at each position, and whether it is all A, C, G, T."""
    words = np.zeros(len(codes), dtype=np.int64)
    whole = np.zeros(len(codes), dtype=np.bool_)
    if len(codes) < length:
        return words, whole
    n = len(codes) - length + 1
    # An int64 view of one slice a letter: `length` passes over the array instead of one step a base.
    last = words[length - 1 :]
    fine = np.ones(n, dtype=np.bool_)
    for offset in range(length):
        letters = codes[offset : offset + n]
        last *= 4
        last += letters
        fine &= letters < OTHER
    whole[length - 1 :] = fine
    return words, whole


def _whole_words(codes: Codes, length: int) -> NDArray[np.int64]:
    words, whole = _words_ending_at(codes, length)
    return words[whole]
