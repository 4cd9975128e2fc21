"""The sample is the same in any order, and correlations are those of the books."""

import random
from collections.abc import Iterable

import numpy as np
import pytest

from genomix.correlation import correlation, mean_ranks
from genomix.variant_effect.comparison import ScoreSample
from genomix.variant_effect.contract import Status, VariantScore
from genomix.variant_effect.site import Site


def score(value: float) -> VariantScore:
    return VariantScore(Status.OK, value, value, value)


SITES = [Site("chr1", pos, "A", ("C", "G"), f"row {pos}") for pos in range(1, 301)]


def sampled(sites: list[Site], size: int = 16) -> tuple[list[tuple[int, str]], ScoreSample]:
    sample = ScoreSample(size)
    for site in sites:
        sample.add(site, [score(float(site.pos)), VariantScore(Status.SYMBOLIC)])
    seen: list[tuple[int, str]] = []

    def exact(kept: Iterable[Site]) -> list[list[VariantScore]]:
        kept = list(kept)
        seen.extend((site.pos, site.alts[0]) for site in kept)
        return [[score(2.0 * site.pos)] for site in kept]

    found = sample.compare(exact)
    assert found.alleles == len(seen)
    return seen, sample


def test_sample_depends_on_the_alleles_alone() -> None:
    seen, _ = sampled(SITES)
    assert len(seen) == 16
    assert all(alt == "C" for _, alt in seen), "only what has a score"
    again, _ = sampled(random.Random(1).sample(SITES, len(SITES)) + SITES[:50])
    assert again == seen, "in any order, and twice is once"
    fewer, _ = sampled(SITES[:5])
    assert sorted(fewer) == [(pos, "C") for pos in range(1, 6)]
    assert sampled(SITES, 0)[0] == []


def test_comparison() -> None:
    _, sample = sampled(SITES)
    found = sample.compare(lambda kept: [[score(float(site.pos) ** 3)] for site in kept])
    assert found.spearman == pytest.approx(1.0)
    assert found.pearson is not None
    assert 0.5 < found.pearson < 1.0
    assert found.to_dict()["alleles"] == 16


def test_correlations() -> None:
    a = np.array([1.0, 2.0, 2.0, 5.0, 0.0])
    b = np.array([0.5, 0.1, 0.3, 2.0, 0.4])
    assert mean_ranks(a).tolist() == [2.0, 3.5, 3.5, 5.0, 1.0]
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert correlation(a, -3 * a) == pytest.approx(-1.0)
    assert correlation(a, np.ones(5)) is None
    assert correlation(a[:1], b[:1]) is None
