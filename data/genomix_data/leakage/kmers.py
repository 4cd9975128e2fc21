"""Canonical k-mers and minimizers of many sequences at once, in numpy; no loop over bases.

A k-mer is packed with two bits a base and is the smaller of itself and its reverse complement, so both strands of a
sequence give the same k-mers. K-mers with a letter other than A, C, G, T (U counts as T) are left out.

A minimizer is the k-mer with the smallest hash among ``window`` neighbours: sequences that share a stretch of
``k + window - 1`` bases share a minimizer, and about ``2 / (window + 1)`` of the k-mers are minimizers.

Source: Roberts et al. 2004, Reducing storage requirements for biological sequence comparison, Bioinformatics 20:3363.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genomix_data.errors import ConfigError

_OTHER = 4
_CODES = np.full(256, _OTHER, dtype=np.uint8)
for _code, _letters in enumerate((b"Aa", b"Cc", b"Gg", b"TtUu")):
    _CODES[np.frombuffer(_letters, dtype=np.uint8)] = _code

_NONE = np.uint64(2**64 - 1)

_BATCH = 1 << 23


@dataclass(frozen=True, slots=True)
class Sketch:
    """The minimizers of many sequences: one row for each different one of a sequence.

    Args:
        values: Their hashes, ``(m,)`` uint64, sorted within a sequence.
        owners: Index of the sequence of each, ``(m,)`` int64, ascending.
        counts: Number of minimizers of each sequence, ``(n,)``; 0 for a sequence that is too short or has none.
    """

    values: NDArray[np.uint64]
    owners: NDArray[np.int64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.counts)


def kmer_hashes(sequences: Sequence[str], k: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the hash of every canonical k-mer, place by place, and the index of the sequence that it stands in.

    Args:
        sequences: Letters, either case.
        k: From 4 to 32.
    """
    values, owners = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
    for first, batch in _batches(sequences):
        hashes, starts, lengths = _hashes(batch, k)
        kept = hashes != _NONE
        values.append(hashes[kept])
        owners.append(np.repeat(np.arange(first, first + len(starts)), lengths)[kept])
    return np.concatenate(values), np.concatenate(owners)


def minimizer_sketch(sequences: Sequence[str], k: int, window: int) -> Sketch:
    """Return the minimizers of each sequence; one shorter than a window gives its smallest k-mer.

    Args:
        sequences: Letters, either case.
        k: From 4 to 32.
        window: Neighbouring k-mers of which one is kept, at least 1.
    """
    if window < 1:
        raise ConfigError(f"window={window} of minimizers must be at least 1.")
    values, owners = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
    for first, batch in _batches(sequences):
        found, sources = _minimizers(*_hashes(batch, k), window)
        values.append(found)
        owners.append(sources + first)
    everything = np.concatenate(owners)
    counts = np.bincount(everything, minlength=len(sequences)).astype(np.int64)
    return Sketch(np.concatenate(values), everything, counts)


def _batches(sequences: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield runs of sequences of about `_BATCH` letters, with the index of the first, so that memory is bounded."""
    first = size = 0
    for index, sequence in enumerate(sequences):
        if size + len(sequence) > _BATCH and index > first:
            yield first, sequences[first:index]
            first, size = index, 0
        size += len(sequence)
    if first < len(sequences):
        yield first, sequences[first:]


def _minimizers(
    hashes: NDArray[np.uint64], starts: NDArray[np.int64], lengths: NDArray[np.int64], window: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the different minimizers of each sequence, and the index of the sequence of each, ascending."""
    owners = np.repeat(np.arange(len(starts)), lengths)
    # Minimum of `window` neighbours, by minima of 1, 2, 4, ... neighbours.
    smallest, width = hashes, 1
    while width < window:
        step = min(width, window - width)
        shifted = np.full_like(smallest, _NONE)
        shifted[: max(len(smallest) - step, 0)] = smallest[step:]
        smallest = np.minimum(smallest, shifted)
        width += step
    # A window that begins in the last k-mers of a sequence reaches into the next one; those do not count.
    offset = np.arange(len(hashes)) - np.repeat(starts, lengths)
    whole = offset + window <= np.repeat(lengths, lengths)
    # Neighbouring windows mostly have the same minimizer; dropping the repetitions first makes sorting cheap.
    whole[1:] &= (smallest[1:] != smallest[:-1]) | (offset[1:] == 0)
    present = np.flatnonzero(lengths)
    least = np.minimum.reduceat(hashes, starts[present]) if len(present) else np.empty(0, dtype=np.uint64)
    values = np.concatenate([smallest[whole], least])
    sources = np.concatenate([owners[whole], present])
    kept = values != _NONE
    return _distinct(values[kept], sources[kept])


def _hashes(
    sequences: Sequence[str], k: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the hash of the k-mer at every place, where the places of each sequence begin, and how many it has."""
    if not 4 <= k <= 32:
        raise ConfigError(f"k={k} must lie between 4 and 32, so that a k-mer fits into 64 bits.")
    sizes = np.fromiter((len(sequence) for sequence in sequences), dtype=np.int64, count=len(sequences))
    letters = np.frombuffer("".join(sequences).encode("latin-1", "replace"), dtype=np.uint8)
    codes = _CODES[letters]
    lengths = np.maximum(sizes - k + 1, 0)
    begins = np.cumsum(lengths) - lengths
    # Places in the joined text at which a k-mer of one sequence begins.
    places = np.arange(lengths.sum()) + np.repeat(np.cumsum(sizes) - sizes - begins, lengths)
    if not len(places):
        return np.empty(0, dtype=np.uint64), begins, lengths
    canonical = np.minimum(_packed(codes, k, reverse=False), _packed(codes, k, reverse=True))[places]
    bad = np.concatenate([[0], np.cumsum(codes == _OTHER)])
    hashes = np.minimum(_mix(canonical), _NONE - np.uint64(1))
    hashes[bad[places + k] > bad[places]] = _NONE
    return hashes, begins, lengths


def _packed(codes: NDArray[np.uint8], k: int, *, reverse: bool) -> NDArray[np.uint64]:
    """Return the k-mer that begins at each place, two bits a base; of the other strand if ``reverse``."""
    single = (codes & 3).astype(np.uint64)
    if reverse:
        single = np.uint64(3) - single
    result, have = np.zeros(len(codes) - k + 1, dtype=np.uint64), 0
    block, size = single, 1
    while True:
        if k & size:
            part = block[have : have + len(result)]
            # The first bases are the highest bits; on the other strand the lowest.
            result = (
                result | (part << np.uint64(2 * have)) if reverse else (result << np.uint64(2 * size)) | part
            )
            have += size
        if have == k:
            return result
        left, right = block[:-size], block[size:]
        shift = np.uint64(2 * size)
        block = left | (right << shift) if reverse else (left << shift) | right
        size *= 2


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a one-to-one scramble, so that poly-A is no more likely to be a minimizer than another k-mer.

    Source: Stafford's variant 13 of the MurmurHash3 finalizer, as in SplitMix64.
    """
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _distinct(
    values: NDArray[np.uint64], owners: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    order = np.lexsort((values, owners))
    values, owners = values[order], owners[order]
    new = np.ones(len(values), dtype=bool)
    new[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
    return values[new], owners[new]
