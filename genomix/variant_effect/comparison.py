"""How scores of ``tiled`` mode or with a horizon correlate with those of whole centred windows, on the user's variants.

The sample is drawn by the variants themselves: the alleles with the smallest hashes. It is the same in every order, in
every run, and in one pass over a file of any size.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from genomix.correlation import correlation, mean_ranks
from genomix.variant_effect.contract import VariantScore
from genomix.variant_effect.site import Site

Pair = tuple[int, float, float | None]


@dataclass(frozen=True, slots=True)
class ExactComparison:
    """Scores beside exact ones.

    Attributes:
        alleles: In the sample.
        pearson: Correlation of the scores; None of fewer than two, or where all are alike.
        spearman: Correlation of their ranks; likewise.
        largest_difference: Of a score from the exact one, in the unit of the scores; None of none.
        pairs: What is compared: hash of the allele, score, and exact score (None where it has none), by hash.
    """

    alleles: int
    pearson: float | None
    spearman: float | None
    largest_difference: float | None
    pairs: tuple[Pair, ...] = ()

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Self:
        """Return how the first scores of pairs compare with the second."""
        kept = tuple(sorted(pairs, key=lambda pair: pair[0]))
        both = [(given, exact) for _, given, exact in kept if exact is not None]
        a, b = np.array(both, np.float64).reshape(-1, 2).T
        return cls(
            len(a),
            correlation(a, b),
            correlation(mean_ranks(a), mean_ranks(b)),
            float(np.abs(a - b).max()) if len(a) else None,
            kept,
        )

    @classmethod
    def together(cls, parts: Iterable[Self], size: int) -> Self:
        """Return the comparison of a whole of which each part compared ``size`` alleles: again the smallest hashes."""
        pairs: dict[int, Pair] = {}
        for pair in (pair for part in parts for pair in part.pairs):
            pairs.setdefault(pair[0], pair)
        return cls.of(pairs[key] for key in sorted(pairs)[:size])

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {
            "alleles": self.alleles,
            "pearson": self.pearson,
            "spearman": self.spearman,
            "largest_difference": self.largest_difference,
        }


class ScoreSample:
    """Keeps some of the scored alleles that it is shown.

    Args:
        size: How many; those with the smallest SHA-256 of ``CHROM:POS:REF:ALT``. Alleles that come twice count once.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[tuple[int, Site, float]] = []
        self._keys: set[int] = set()

    def add(self, site: Site, scores: Sequence[VariantScore]) -> None:
        """Show it the scores of a site's ALT alleles."""
        if not self._size:
            return
        for alt, score in zip(site.alts, scores, strict=True):
            if score.llr is None:
                continue
            name = f"{site.chrom}:{site.pos}:{site.ref}:{alt}".upper()
            key = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big")
            if key in self._keys or (len(self._kept) == self._size and -self._kept[0][0] < key):
                continue
            entry = (-key, replace(site, alts=(alt,), info=None, haplotypes=None), score.llr)
            if len(self._kept) < self._size:
                heapq.heappush(self._kept, entry)
            else:
                self._keys.remove(-heapq.heappushpop(self._kept, entry)[0])
            self._keys.add(key)

    def to_json(self) -> list[list[Any]]:
        """Return what is kept as JSON values, for `restore`."""
        return [
            [key, site.chrom, site.pos, site.ref, site.alts[0], site.where, llr]
            for key, site, llr in self._kept
        ]

    def restore(self, kept: Iterable[Sequence[Any]]) -> None:
        """Go on from what another sample kept."""
        self._kept = [
            (key, Site(chrom, pos, ref, (alt,), where), llr) for key, chrom, pos, ref, alt, where, llr in kept
        ]
        heapq.heapify(self._kept)
        self._keys = {-key for key, _, _ in self._kept}

    def compare(self, exact: Callable[[Iterable[Site]], Iterable[list[VariantScore]]]) -> ExactComparison:
        """Return how the kept scores compare.

        Args:
            exact: Gives the exact scores of sites, in their order.
        """
        entries = sorted(self._kept, reverse=True, key=lambda entry: entry[0])
        exactly = exact([site for _, site, _ in entries])
        return ExactComparison.of(
            (-key, llr, scores[0].llr) for (key, _, llr), scores in zip(entries, exactly, strict=True)
        )
