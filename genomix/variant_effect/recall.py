"""Scores from a cache in place of windows, and scores that were computed into the cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genomix.variant_effect.cache_keys import AlleleKeys
from genomix.variant_effect.contract import VariantScore
from genomix.variant_effect.score_cache import ScoreCache
from genomix.variant_effect.strands import StrandWindows
from genomix.variant_effect.substitutions import Ints, PlacedSubstitutions


@dataclass(frozen=True, slots=True, eq=False)
class RecalledSubstitutions:
    """What a cache has of the substitutions of a block.

    Attributes:
        keys: One each.
        known: Their scores; None of those that are to be computed.
    """

    keys: list[bytes]
    known: list[VariantScore | None]

    @property
    def missing(self) -> Ints:
        """Numbers of those that are to be computed."""
        return np.flatnonzero([score is None for score in self.known])

    def completed(self, computed: Sequence[VariantScore]) -> list[VariantScore]:
        """Return the scores of all.

        Args:
            computed: Of the missing ones, in order.
        """
        rest = iter(computed)
        return [next(rest) if score is None else score for score in self.known]


class Recall:
    """A cache as a run sees it.

    Args:
        cache: Of the model.
        keys: Of the settings.
    """

    def __init__(self, cache: ScoreCache, keys: AlleleKeys) -> None:
        self._cache = cache
        self._keys = keys
        cache.describe(keys.digest, keys.text)

    def substitutions(self, placed: PlacedSubstitutions) -> RecalledSubstitutions:
        """Return what is known of the substitutions of a block."""
        keys = self._keys.of_substitutions(placed)
        found = self._cache.get(list(dict.fromkeys(keys)))
        return RecalledSubstitutions(keys, [found.get(key) for key in keys])

    def allele(
        self, strands: Sequence[StrandWindows], ref: str, alt: str
    ) -> tuple[bytes, VariantScore | None]:
        """Return the key of an allele of any kind, and its score where it is known; see `AlleleKeys.of_allele`."""
        key = self._keys.of_allele(strands, ref, alt)
        return key, self._cache.get([key]).get(key)

    def keep(self, scores: Mapping[bytes, VariantScore]) -> None:
        """Keep scores that were computed."""
        self._cache.add(scores)
