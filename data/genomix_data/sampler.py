"""The order of training samples, as a pure function of ``(seed, epoch, index)``.

A run that stops in the middle of an epoch continues with exactly the samples that it would have seen: nothing has to
be stored but the number of the next batch, and the number of workers or machines does not matter.

The permutation is a balanced Feistel network over the smallest even number of bits that holds ``n``, with cycle
walking (Black & Rogaway 2002, "Ciphers with arbitrary finite domains"); the round function is the finaliser of
SplitMix64 (Steele, Lea & Flood 2014). It needs no memory, whatever the size of the data set.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch.utils.data import Sampler

_MASK64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_ROUNDS = 6


def mix64(*values: int) -> int:
    """Return 64 well-mixed bits that depend on every value and on their order; the same on every machine."""
    state = 0
    for value in values:
        state = ((state ^ (value & _MASK64)) + _GOLDEN) & _MASK64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK64
        state ^= state >> 31
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


class EpochBatches(Sampler[list[int]]):
    """Batches of running sample numbers: batch ``b`` is the same however often the run was interrupted.

    Sample number ``k`` stands for sample ``k % n`` of the order of epoch ``k // n``; a dataset turns it into data with
    `EpochOrder.locate`. A batch never spans two epochs, so the last one of an epoch may be smaller.

    Args:
        n: Samples in an epoch.
        batch_size: Samples in a batch.
        start: First batch to give (counted from the beginning of the run, 0-based).
        stop: First batch not to give.
    """

    def __init__(self, n: int, batch_size: int, *, start: int, stop: int) -> None:
        self.n = n
        self.batch_size = batch_size
        self.start = start
        self.stop = stop

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches in one epoch."""
        return -(-self.n // self.batch_size)

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.start, self.stop):
            epoch, turn = divmod(batch, self.batches_per_epoch)
            first = turn * self.batch_size
            last = min(first + self.batch_size, self.n)
            yield list(range(epoch * self.n + first, epoch * self.n + last))
