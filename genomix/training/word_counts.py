"""How often each word of bases occurs: all that a context model has to know of a genome.

Only the longest words are looked up base by base; the counts of shorter ones follow by adding up over the first base,
plus the few words that stand where a sequence or a run of bases begins. The counts of the other strand are those of the
reversed and complemented words. Everything is done by numpy, with no Python loop over bases.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
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


@dataclass(frozen=True, slots=True)
class WordCounts:
    """Counts of the words that end at the counted bases.

    A word of ``k + 1`` bases is a number in base four, its last base in the last place: a base and its context of order
    ``k``.

    Args:
        tables: For each order ``k`` from 0 the count of every word of ``k + 1`` bases, ``(4^(k+1),)``.
        cut: For each order the words (as often as they occur) before which there is no further base: their context
            ends with the sequence, or at a letter that is no base. They are in ``tables`` as well.
    """

    tables: tuple[Int64[np.ndarray, " words"], ...]
    cut: tuple[Int64[np.ndarray, " places"], ...]

    @property
    def order(self) -> int:
        """Largest number of context bases."""
        return len(self.tables) - 1

    @property
    def n(self) -> int:
        """Bases that were counted."""
        return int(self.tables[0].sum())

    def with_other_strand(self) -> "WordCounts":
        """Return the counts of both strands together; where contexts are cut is not kept."""
        empty = np.zeros(0, dtype=np.int64)
        return WordCounts(
            tuple(table + _of_other_strand(table, k + 1) for k, table in enumerate(self.tables)),
            tuple(empty for _ in self.tables),
        )

    def __add__(self, other: "WordCounts") -> "WordCounts":
        return WordCounts(
            tuple(a + b for a, b in zip(self.tables, other.tables, strict=True)),
            tuple(np.concatenate([a, b]) for a, b in zip(self.cut, other.cut, strict=True)),
        )

    def bits_per_base(self, log_p: Sequence[NDArray[np.floating]]) -> Float64[np.ndarray, " orders"]:
        """Return the mean ``-log2 P`` of the counted bases under models of order 0, 1, ...

        Args:
            log_p: For each order the log-probability (nats) of the last base of every word, given the others. A base
                with less context is predicted by the order that it has context for.

        Raises:
            ValueError: if nothing was counted.
        """
        if self.n == 0:
            raise ValueError("no base to score: the sequences hold no A, C, G or T")
        nats, of_cut = [], 0.0
        for table, cut, values in zip(self.tables, self.cut, log_p, strict=False):
            nats.append(-float(table @ values) - of_cut)
            of_cut += float(values[cut].sum())
        bits: Float64[np.ndarray, " orders"] = np.array(nats) / self.n / np.log(2)
        return bits


def count_words(
    sequences: Iterable[Codes], order: int, counted: Iterable[NDArray[np.bool_]] | None = None
) -> WordCounts:
    """Return how often every word of up to ``order + 1`` bases occurs.

    Args:
        sequences: Codes, see `base_codes`; no word spans two of them.
        order: Largest number of context bases.
        counted: For each sequence at which bases words may end; by default at all.

    Raises:
        ValueError: if the order is negative or above `MAX_ORDER`.
    """
    if not 0 <= order <= MAX_ORDER:
        raise ValueError(f"order is {order}; it must lie between 0 and {MAX_ORDER}")
    longest = order + 1
    table = np.zeros(4**longest, dtype=np.int64)
    cut: list[list[Int64[np.ndarray, " places"]]] = [[] for _ in range(longest)]
    masks = iter(counted) if counted is not None else None
    for codes in sequences:
        mask = None if masks is None else next(masks)
        for start in range(0, len(codes), CHUNK):
            lead = min(order, start)
            piece = codes[start - lead : start + CHUNK]
            words, run = _words(piece, longest), _run_lengths(piece)
            words, run = words[lead:], run[lead:]
            wanted = run > 0 if mask is None else (run > 0) & mask[start : start + CHUNK]
            is_whole = run >= longest
            table += np.bincount(words[wanted & is_whole], minlength=len(table))
            rest = np.flatnonzero(wanted & ~is_whole)
            for place, length in zip(rest.tolist(), run[rest].tolist(), strict=True):
                cut[length - 1].append(words[place : place + 1].astype(np.int64) & (4**length - 1))
    tables = [table]
    ends = [np.concatenate([np.zeros(0, dtype=np.int64), *words]) for words in cut]
    for length in range(order, 0, -1):
        shorter = tables[0].reshape(4, -1).sum(axis=0)
        tables.insert(0, shorter + np.bincount(ends[length - 1], minlength=4**length))
    return WordCounts(tuple(tables), tuple(ends))


def _words(codes: Codes, length: int) -> NDArray[np.int32]:
    """Return the word of ``length`` bases that ends at each place; letters that are no base, or not there, are 0."""
    letters = np.where(codes < OTHER, codes, 0).astype(np.int32)
    words, n = letters, 1
    for bit in bin(length)[3:]:
        longer = words.copy()
        longer[n:] |= words[:-n] << (2 * n)
        words, n = longer, 2 * n
        if bit == "1":
            longer = letters.copy()
            longer[1:] |= words[:-1] << 2
            words, n = longer, n + 1
    return words


def _run_lengths(codes: Codes) -> NDArray[np.int32]:
    """Return how many bases in a row end at each place; 0 at a letter that is none."""
    places = np.arange(1, len(codes) + 1, dtype=np.int32)
    last_break = np.maximum.accumulate(np.where(codes < OTHER, 0, places))
    lengths: NDArray[np.int32] = places - last_break
    return lengths


def _of_other_strand(table: Int64[np.ndarray, " words"], length: int) -> Int64[np.ndarray, " words"]:
    """Return the counts with each word replaced by its reverse complement."""
    by_base = table.reshape((4,) * length)
    return np.ascontiguousarray(np.flip(by_base.transpose(range(length)[::-1]))).reshape(-1)
