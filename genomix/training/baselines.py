"""How many bits models of the last few bases need for the held-out bases that a language model is scored on.

Both count the words of the same training bases. They score A, C, G and T of the held-out regions, but for the first
base of each region, with context from within the region only: exactly the bases of `HeldOutWindows`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from genomix.training.interpolated import InterpolatedModel
from genomix.training.markov import MarkovModel
from genomix.training.word_counts import MAX_ORDER, OTHER, Codes, WordCounts, count_words
from genomix_data.corpus import Corpus
from genomix_data.token_store import soft_mask

BYTES_A_WORD = 128
"""Of memory while context models are made, for each word of the longest (measured: 0.52 GB for 4^11 words, 2.04 GB for
4^12, 7.80 GB for 4^13)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Models of order 0, 1, ... on the bases that the language model was trained and scored on.

    Args:
        valid: Bits per base of every order on the validation bases.
        test: Bits per base of every order on the test bases.
        best_order: The order that is best on validation.
        both_strands: Whether both strands of the training bases were counted.
        masked: Bits per base of the best order on the soft-masked test bases; None unless some are and some are not.
        unmasked: Likewise on the others.
    """

    valid: tuple[float, ...]
    test: tuple[float, ...]
    best_order: int
    both_strands: bool
    masked: float | None = None
    unmasked: float | None = None

    @property
    def bits_per_base(self) -> float:
        """Bits per base on the test bases of the order that validation chose."""
        return self.test[self.best_order]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkovBaseline(Baseline):
    """Markov models; ``alpha`` is the strength of the prior, see `genomix.training.markov`."""

    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpolatedBaseline(Baseline):
    """Mixtures of all orders up to each, their weights fitted on validation, see `genomix.training.interpolated`."""


def context_baselines(
    corpus: Corpus, order: int, *, both_strands: bool
) -> tuple[MarkovBaseline, InterpolatedBaseline]:
    """Return Markov models of every order up to ``order``, and mixtures of one order more.

    A mixture gains nothing from contexts that hardly any training base has, see `longest_order`.
    """
    longest = longest_order(corpus.n_bases("train"), order)
    counts = count_words((codes for codes, _ in _regions(corpus, "train")), longest)
    if both_strands:
        counts = counts.with_other_strand()
    valid, test = _held_out(corpus, "valid", longest), _held_out(corpus, "test", longest)
    markov = MarkovModel(order, both_strands=both_strands).fit_counts(counts)
    mixture = InterpolatedModel(counts).fit(valid.all)
    return (
        MarkovBaseline(alpha=markov.alpha, **_measured(markov, valid, test), both_strands=both_strands),
        InterpolatedBaseline(**_measured(mixture, valid, test), both_strands=both_strands),
    )


def longest_order(n_train: int, order: int) -> int:
    """Return the order of the longest contexts: one more than ``order``, but no more contexts than training bases."""
    useful = int(np.log(max(n_train, 1)) / np.log(4))
    return max(order, min(order + 1, useful, MAX_ORDER))


def context_model_bytes(n_train: int, order: int) -> int:
    """Return how much memory `context_baselines` takes at most."""
    return int(BYTES_A_WORD * 4 ** (longest_order(n_train, order) + 1))


@dataclass(frozen=True)
class _HeldOutWords:
    masked: WordCounts
    unmasked: WordCounts

    @property
    def all(self) -> WordCounts:
        return self.masked + self.unmasked

    @property
    def is_mixed(self) -> bool:
        return self.masked.n > 0 and self.unmasked.n > 0


class _Measured(TypedDict):
    valid: tuple[float, ...]
    test: tuple[float, ...]
    best_order: int
    masked: float | None
    unmasked: float | None


def _measured(model: MarkovModel | InterpolatedModel, valid: _HeldOutWords, test: _HeldOutWords) -> _Measured:
    on_valid, on_test = (words.all.bits_per_base(model.log_p) for words in (valid, test))
    best = int(np.argmin(on_valid))
    masked, unmasked = (
        float(words.bits_per_base(model.log_p)[best]) if test.is_mixed else None
        for words in (test.masked, test.unmasked)
    )
    return {
        "valid": tuple(on_valid.tolist()),
        "test": tuple(on_test.tolist()),
        "best_order": best,
        "masked": masked,
        "unmasked": unmasked,
    }


def _held_out(corpus: Corpus, split: str, order: int) -> _HeldOutWords:
    regions = list(_regions(corpus, split))
    sequences = [codes for codes, _ in regions]
    scored = [np.arange(len(codes)) > 0 for codes in sequences]
    return _HeldOutWords(
        *(
            count_words(
                sequences, order, [s & (mask == wanted) for s, (_, mask) in zip(scored, regions, strict=True)]
            )
            for wanted in (True, False)
        )
    )


def _regions(corpus: Corpus, split: str) -> Iterator[tuple[Codes, NDArray[np.bool_]]]:
    """Yield the codes and the soft mask of one region after the other: only one of them has to fit in memory."""
    table = np.full(256, OTHER, dtype=np.uint8)
    table[list(corpus.tokenizer.acgt_ids)] = np.arange(4, dtype=np.uint8)
    for region in corpus.regions[split]:
        yield table[corpus.fetch(region)], soft_mask(corpus.letters(region))
