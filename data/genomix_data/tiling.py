"""Training windows side by side over regions, each moved a little in every epoch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from genomix_data.corpus import Corpus
from genomix_data.errors import ConfigError
from genomix_data.interval import Interval
from genomix_data.lm_batch import PAD
from genomix_data.n_policy import NCounter, NPolicy
from genomix_data.sampler import mix64_array

JITTER = 1
"""What a random number is for, so that it does not depend on those for other ends."""

_DRAWS = 8

Numbers = Int64[np.ndarray, " B"]


class _Places(NamedTuple):
    region: Numbers
    start: Numbers
    n_bases: Numbers


class Tiles:
    """Windows that tile regions; a window never leaves its region.

    With ``jitter`` each is moved by up to half of ``stride``, differently in every epoch, so that in time every base is
    seen at every place of a window. A policy for N leaves out the tiles that break it where they lie, and draws the
    jitter of the others again (up to eight times, then none) until they keep it.

    Args:
        corpus: The genomes.
        regions: Regions to tile.
        stride: Distance between tiles, in bp.
        n_bases: Bases of a window.
        seed: Of the jitter.
        jitter: Move the windows.
        policy: How much N a window may have.

    Attributes:
        n: Windows offered.
        n_left_out: Windows that the policy leaves out.

    Raises:
        ConfigError: if the policy leaves out all of them.
    """

    def __init__(
        self,
        corpus: Corpus,
        regions: Sequence[Interval],
        stride: int,
        n_bases: int,
        *,
        seed: int,
        jitter: bool,
        policy: NPolicy,
    ) -> None:
        self.regions = tuple(regions)
        self.stride, self.n_bases = stride, n_bases
        self.seed, self.jitter, self.policy = seed, jitter, policy
        self._corpus = corpus
        self._starts = np.array([region.start for region in regions], dtype=np.int64)
        self._stops = np.array([region.end for region in regions], dtype=np.int64)
        tiles = np.maximum(1, -(-(self._stops - self._starts - 1) // stride))
        self._ends = np.cumsum(tiles)
        self._firsts = self._ends - tiles
        self._store, self._contig = numbers_of(corpus, self.regions)
        self._kept: Numbers | None = None
        self.n, self.n_left_out = int(self._ends[-1]), 0
        if not policy.keeps_all:
            self._drop_windows_of_n()

    def intervals(self, epoch: int, index: int) -> tuple[Interval, ...]:
        """Return where a window lies: one interval."""
        place = self._place(np.array([epoch]), np.array([index]))
        start = int(place.start[0])
        region = self.regions[int(place.region[0])]
        return (Interval(region.chrom, start, start + int(place.n_bases[0])),)

    def read(
        self, epochs: Numbers, indices: Numbers, width: int
    ) -> tuple[UInt8[np.ndarray, "B width"], Numbers]:
        """Return windows of letters, `PAD` on the right of a short one, and how many letters each has."""
        place = self._place(epochs, indices)
        letters = np.empty((len(indices), width), dtype=np.uint8)
        stores = self._store[place.region]
        for number, store in enumerate(self._corpus.stores):
            rows = np.flatnonzero(stores == number)
            if rows.size:
                batch = store.gather(self._contig[place.region[rows]], place.start[rows], width)
                if rows.size == len(indices):
                    letters = batch
                else:
                    letters[rows] = batch
        for row in np.flatnonzero(place.n_bases < width).tolist():
            letters[row, place.n_bases[row] :] = PAD
        return letters, place.n_bases

    def _place(self, epochs: Numbers, indices: Numbers) -> _Places:
        tiles = indices if self._kept is None else self._kept[indices]
        regions = np.searchsorted(self._ends, tiles, side="right")
        home = self._starts[regions] + (tiles - self._firsts[regions]) * self.stride
        if not self.jitter:
            return self._inside(regions, home)
        place = self._inside(regions, home + self._jitter(epochs, tiles))
        if self.policy.keeps_all:
            return place
        for draw in range(1, _DRAWS + 1):
            bad = np.flatnonzero(~self._allowed(place))
            if not bad.size:
                break
            move = self._jitter(epochs[bad], tiles[bad], draw) if draw < _DRAWS else 0
            place.start[bad] = self._inside(regions[bad], home[bad] + move).start
        return place

    def _jitter(self, epochs: Numbers, tiles: Numbers, *draw: int) -> Numbers:
        drawn = mix64_array(self.seed, epochs, tiles, JITTER, *draw) % np.uint64(self.stride)
        return drawn.astype(np.int64) - self.stride // 2

    def _inside(self, regions: Numbers, starts: Numbers) -> _Places:
        stops = self._stops[regions]
        start = np.maximum(self._starts[regions], np.minimum(starts, stops - self.n_bases))
        return _Places(regions, start, np.minimum(start + self.n_bases, stops) - start)

    def _allowed(self, place: _Places) -> np.ndarray:
        n = self._counter.count(self._line[place.region], place.start, place.n_bases)
        return n <= self.policy.largest * place.n_bases

    def _drop_windows_of_n(self) -> None:
        names = list(dict.fromkeys(region.chrom for region in self.regions))
        places = [self._corpus.contigs[name] for name in names]
        stores = [(self._corpus.stores[number], own) for number, own in places]
        number_of = {name: number for number, name in enumerate(names)}
        self._line = np.array([number_of[region.chrom] for region in self.regions])
        self._counter = NCounter(
            [store.n_runs(own) for store, own in stores], [store.contigs[own] for store, own in stores]
        )
        tiles = np.arange(self.n)
        regions = np.searchsorted(self._ends, tiles, side="right")
        home = self._starts[regions] + (tiles - self._firsts[regions]) * self.stride
        self._kept = np.flatnonzero(self._allowed(self._inside(regions, home)))
        self.n_left_out, self.n = self.n - self._kept.size, self._kept.size
        if not self.n:
            raise ConfigError(
                f"every one of {self.n_left_out:,} training windows has more N than data.n_policy allows "
                f"({self.policy.largest:g} of its bases). Allow more, or shorten data.seqlen."
            )


def numbers_of(corpus: Corpus, regions: Sequence[Interval]) -> tuple[Numbers, Numbers]:
    """Return the number of the store of each region, and of its contig there."""
    places = [corpus.contigs[region.chrom] for region in regions]
    contigs = [corpus.stores[number].contig_index(own) for number, own in places]
    return np.array([number for number, _ in places]), np.array(contigs)
