"""How much N a training window may have, and how much it has, counted from the runs of N and not from the letters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from genomix_data.errors import ConfigError


@dataclass(frozen=True, slots=True)
class NPolicy:
    """The largest part of a window's bases that may be N; windows with more are not offered.

    >>> NPolicy.parse("skip"), NPolicy.parse("max:0.1"), NPolicy.parse("keep").keeps_all
    (NPolicy(largest=0.0), NPolicy(largest=0.1), True)
    """

    largest: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "NPolicy":
        """Return what ``keep`` (any window), ``skip`` (none with N) or ``max:FRACTION`` means.

        Raises:
            ConfigError: for anything else.
        """
        known = {"keep": 1.0, "skip": 0.0}
        if text in known:
            return cls(known[text])
        name, _, number = text.partition(":")
        try:
            largest = float(number)
        except ValueError:
            largest = -1.0
        if name != "max" or not 0 <= largest <= 1:
            raise ConfigError(
                f"{text!r} is no policy for N; it is keep, skip, or max:FRACTION with a fraction from 0 to 1, such as "
                "max:0.1."
            )
        return cls(largest)

    @property
    def keeps_all(self) -> bool:
        """Whether every window is offered."""
        return self.largest >= 1


class NCounter:
    """Counts N in stretches of a contig.

    Args:
        n_runs: Start and end of every run of N of each contig, sorted; see `TokenStore.n_runs`.
        lengths: Length of each contig in bp.
    """

    def __init__(self, n_runs: Sequence[Int64[np.ndarray, "R 2"]], lengths: Sequence[int]) -> None:
        # All contigs on one line, so that one search serves windows of many contigs.
        self._offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        runs = np.concatenate([runs + offset for runs, offset in zip(n_runs, self._offsets, strict=False)])
        sizes = runs[:, 1] - runs[:, 0]
        # A run of nothing before all others, so that every base has a run at or before it.
        self._starts = np.concatenate([[0], runs[:, 0]]).astype(np.int64)
        self._sizes = np.concatenate([[0], sizes]).astype(np.int64)
        self._before = np.cumsum(self._sizes) - self._sizes

    def count(
        self,
        contigs: Int64[np.ndarray, " B"],
        starts: Int64[np.ndarray, " B"],
        n_bases: Int64[np.ndarray, " B"],
    ) -> Int64[np.ndarray, " B"]:
        """Return the N among ``n_bases`` bases from ``starts`` (0-based) on of each contig, given by its number."""
        first = self._offsets[contigs] + starts
        found: Int64[np.ndarray, " B"] = self._up_to(first + n_bases) - self._up_to(first)
        return found

    def _up_to(self, places: Int64[np.ndarray, " B"]) -> Int64[np.ndarray, " B"]:
        run = np.searchsorted(self._starts, places, side="right") - 1
        n: Int64[np.ndarray, " B"] = self._before[run] + np.minimum(
            places - self._starts[run], self._sizes[run]
        )
        return n
