"""The order of training samples, as a pure function of ``(seed, epoch, index)``.

A run that stops in the middle of an epoch continues with exactly the samples that it would have seen: nothing has to
be stored but the number of the next batch, and the number of workers or ranks does not matter.

The permutation is a balanced Feistel network over the smallest even number of bits that holds ``n``, with cycle
walking (Black & Rogaway 2002, "Ciphers with arbitrary finite domains"); the round function is the finaliser of
SplitMix64 (Steele, Lea & Flood 2014). It needs no memory, whatever the size of the data set.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt64
from torch.utils.data import Sampler

from genomix_data.errors import ConfigError

FILLER = -1
"""Sample number of no sample: it stands where a rank has one sample less than another in the last batch of an epoch."""

_MASK64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS = 6
_SHARES = 1 << 20


def mix64(*values: int) -> int:
    """Return 64 well-mixed bits that depend on every value and on their order; the same on every machine."""
    state = 0
    for value in values:
        state = ((state ^ (value & _MASK64)) + _GOLDEN) & _MASK64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK64
        state ^= state >> 31
    return state


def mix64_array(*values: "int | Int64[np.ndarray, ' B']") -> UInt64[np.ndarray, " B"]:
    """Return `mix64` for every element of the arrays among ``values``, of which there is at least one."""
    n_leading = next(i for i, value in enumerate(values) if isinstance(value, np.ndarray))
    # What comes before the first array is the same for all, and cheaper to mix once.
    leading = [value for value in values[:n_leading] if isinstance(value, int)]
    state: UInt64[np.ndarray, " B"] = np.array(mix64(*leading), dtype=np.uint64)
    for value in values[n_leading:]:
        bits = value.astype(np.uint64) if isinstance(value, np.ndarray) else np.uint64(value & _MASK64)
        state = _mixed(state ^ bits)
    return state


def _mixed(state: UInt64[np.ndarray, " B"]) -> UInt64[np.ndarray, " B"]:
    """Return one round of `mix64`."""
    state = state + np.uint64(_GOLDEN)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


def ordered_index(seed: int, epoch: int, i: int, n: int) -> int:
    """Return which of ``n`` samples comes ``i``-th (0-based) in ``epoch``: over ``i`` this is a permutation of 0..n-1.

    Raises:
        IndexError: unless ``0 <= i < n``.
    """
    if not 0 <= i < n:
        raise IndexError(f"sample {i} of an epoch of {n} samples")
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    key = mix64(seed, epoch)
    value = i
    while True:
        left, right = value >> half, value & mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (mix64(key, turn, right) & mask)
        value = (left << half) | right
        if value < n:
            return value


def ordered_indices(seed: int, epoch: int, i: Int64[np.ndarray, " B"], n: int) -> Int64[np.ndarray, " B"]:
    """Return `ordered_index` for every element of ``i``, each in ``0..n-1``; for a batch, many times as fast."""
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    key = mix64(seed, epoch)
    keys = [np.uint64(mix64(key, turn)) for turn in range(_ROUNDS)]
    values = i.astype(np.uint64)
    outside = np.arange(values.size)
    while outside.size:
        value = values[outside]
        left, right = value >> shift, value & mask
        for turn_key in keys:
            left, right = right, left ^ (_mixed(turn_key ^ right) & mask)
        value = (left << shift) | right
        values[outside] = value
        outside = outside[value >= np.uint64(n)]
    return values.astype(np.int64)


@dataclass(frozen=True, slots=True)
class EpochOrder:
    """A shuffled order of ``n`` samples for every epoch, without any state."""

    n: int
    seed: int

    def index(self, epoch: int, i: int) -> int:
        """Return which sample comes ``i``-th in ``epoch``."""
        return ordered_index(self.seed, epoch, i, self.n)

    def locate(self, number: int) -> tuple[int, int]:
        """Return ``(epoch, sample)`` of the ``number``-th sample of an endless run."""
        epoch, i = divmod(number, self.n)
        return epoch, self.index(epoch, i)

    def locate_many(
        self, numbers: Int64[np.ndarray, " B"]
    ) -> tuple[Int64[np.ndarray, " B"], Int64[np.ndarray, " B"]]:
        """Return the epochs and samples of many numbers."""
        epochs, i = np.divmod(numbers, self.n)
        samples = np.empty_like(numbers)
        for epoch in sorted(set(epochs.tolist())):
            here = epochs == epoch
            samples[here] = ordered_indices(self.seed, epoch, i[here], self.n)
        return epochs, samples


@dataclass(frozen=True, slots=True)
class Blend:
    """Running numbers dealt out to several sources in fixed shares, each source getting 0, 1, 2, ... in turn.

    The share of a source among the first ``k`` numbers is that of its weight, to within one number for two sources (one
    more for each further one). Where a number goes is a pure function of it: the first source takes number ``k`` if
    ``floor((k + 1) p) > floor(k p)``, the others are dealt what is left in the same way.

    Args:
        weights: One a source, above 0; only their ratios matter.

    Raises:
        ConfigError: if there is no weight, or one is not above 0 or less than a millionth of the others.
    """

    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.weights or not all(0 < weight < float("inf") for weight in self.weights):
            raise ConfigError(f"weights are {list(self.weights)}; each must be above 0, and finite.")
        if min(self.weights) * _SHARES < sum(self.weights):
            raise ConfigError(
                f"weights are {list(self.weights)}; the smallest is too small to matter. Leave it out."
            )

    @property
    def _shares(self) -> list[int]:
        """Share of each source but the last of what the sources before it leave, in units of 2^-20."""
        rest = [sum(self.weights[i:]) for i in range(len(self.weights))]
        return [
            min(max(round(weight / total * _SHARES), 1), _SHARES - 1)
            for weight, total in zip(self.weights[:-1], rest[:-1], strict=True)
        ]

    def locate_many(
        self, numbers: Int64[np.ndarray, " B"]
    ) -> tuple[Int64[np.ndarray, " B"], Int64[np.ndarray, " B"]]:
        """Return which source each number goes to, and its running number there."""
        sources = np.full(numbers.size, len(self.weights) - 1)
        own = numbers.copy()
        left = np.arange(numbers.size)
        for source, share in enumerate(self._shares):
            before = own[left] * share // _SHARES
            is_here = (own[left] + 1) * share // _SHARES > before
            sources[left[is_here]] = source
            own[left] = np.where(is_here, before, own[left] - before)
            left = left[~is_here]
        return sources, own


class EpochBatches(Sampler[list[int]]):
    """Batches of running sample numbers: batch ``b`` is the same however often the run was interrupted.

    Sample number ``k`` stands for sample ``k % n`` of the order of epoch ``k // n``; a dataset turns it into data with
    `EpochOrder.locate`. A batch never spans two epochs, so the last one of an epoch may be smaller.

    Of several ranks, rank ``r`` of ``w`` takes samples ``r, r + w, r + 2 w, ...`` of each batch: what all ranks see
    together does not depend on how many they are. Every rank gets as many numbers; `FILLER` makes up the difference.

    Args:
        n: Samples in an epoch.
        batch_size: Samples in a batch, of all ranks together.
        start: First batch to give (counted from the beginning of the run, 0-based).
        stop: First batch not to give.
        rank: This process, 0-based.
        world_size: Processes.

    Raises:
        ConfigError: if the ranks cannot share a batch evenly, or ``rank`` is none of them.
    """

    def __init__(
        self, n: int, batch_size: int, *, start: int, stop: int, rank: int = 0, world_size: int = 1
    ) -> None:
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank {rank} is not one of {world_size}; ranks are 0 to {world_size - 1}.")
        if batch_size % world_size:
            raise ConfigError(
                f"a batch of {batch_size} cannot be shared evenly by {world_size} ranks. The batch size counts the "
                f"samples of all ranks together: take {batch_size + -batch_size % world_size}."
            )
        self.n = n
        self.batch_size = batch_size
        self.start = start
        self.stop = stop
        self.rank = rank
        self.world_size = world_size
        self._pass = 0

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches in one epoch."""
        return -(-self.n // self.batch_size)

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    @property
    def sampler(self) -> "EpochBatches":
        """What Lightning tells the number of its epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Give the batches that follow in the next pass: after ``start`` to ``stop`` one whole epoch a pass.

        Args:
            epoch: How many passes were made before; 0 gives ``start`` to ``stop``.
        """
        self._pass = epoch

    def __iter__(self) -> Iterator[list[int]]:
        part = range(self.start, self.stop)
        if self._pass:
            first_batch = self.stop + (self._pass - 1) * self.batches_per_epoch
            part = range(first_batch, first_batch + self.batches_per_epoch)
        for batch in part:
            epoch, turn = divmod(batch, self.batches_per_epoch)
            first = turn * self.batch_size
            last = min(first + self.batch_size, self.n)
            numbers = range(epoch * self.n + first, epoch * self.n + last)
            yield self._share(numbers)

    def _share(self, numbers: Sequence[int]) -> list[int]:
        share = list(numbers[self.rank :: self.world_size])
        n_of_first_rank = -(-len(numbers) // self.world_size)
        return share + [FILLER] * (n_of_first_rank - len(share))
