import numpy as np
import pytest
import torch

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.training.baselines import context_baselines
from genomix.training.held_out import bits_per_base
from genomix_data.corpus import Corpus
from genomix_data.interval import Interval
from genomix_data.lm_dataset import HeldOutWindows
from tests.data.corpus_helpers import corpus_of
from tests.genomix.training_helpers import letters, tiny_model


def split(text: str, valid: tuple[int, int], test: tuple[int, int], train: tuple[int, int]) -> Corpus:
    corpus = corpus_of([text])
    for name, (start, end) in {"valid": valid, "test": test, "train": train}.items():
        corpus.regions[name] = (Interval("c0", start, end),)
    return corpus


@pytest.mark.parametrize("both_strands", [False, True])
def test_the_baselines_score_the_bases_of_the_language_model(both_strands: bool) -> None:
    text = letters(300, 6)[:50] + "NN" + letters(300, 6)[50:70].lower() + letters(300, 6)[70:]
    corpus = split(text, (0, 40), (40, 120), (120, 302))
    markov, mixture = context_baselines(corpus, 3, both_strands=both_strands)
    strands = [text[120:]]
    if both_strands:
        strands.append(text[120:][::-1].translate(str.maketrans("ACGT", "TGCA")))
    joined = "".join(strands)
    counts = np.array([joined.count(letter) for letter in "ACGT"])
    p = (counts + markov.alpha / 4) / (counts.sum() + markov.alpha)
    scored = [c for c in text[41:120].upper() if c != "N"]
    expected = -np.mean([np.log2(p["ACGT".index(c)]) for c in scored])
    assert markov.test[0] == pytest.approx(expected)
    config = tiny_model().config
    assert isinstance(config, HyenaDNAConfig)
    with torch.random.fork_rng():
        bits = bits_per_base(HyenaDNA(config), HeldOutWindows(corpus, "test", 32), batch_size=4)
    assert len(scored) == bits.n_bases
    for baseline in (markov, mixture):
        assert baseline.best_order == int(np.argmin(baseline.valid))
        assert baseline.bits_per_base == baseline.test[baseline.best_order]
        assert baseline.masked is not None
        assert baseline.unmasked is not None
        n = bits.n_masked
        together = (n * baseline.masked + (bits.n_bases - n) * baseline.unmasked) / bits.n_bases
        assert together == pytest.approx(baseline.bits_per_base, rel=1e-9)


def test_a_mixture_has_one_order_more_where_there_are_bases_for_it() -> None:
    few, many = letters(300, 1), letters(6000, 2)
    markov, mixture = context_baselines(split(few, (0, 50), (50, 100), (100, 300)), 4, both_strands=False)
    assert (len(markov.test), len(mixture.test)) == (5, 5)
    markov, mixture = context_baselines(
        split(many, (0, 500), (500, 1000), (1000, 6000)), 4, both_strands=False
    )
    assert (len(markov.test), len(mixture.test)) == (5, 6)


def test_a_mixture_is_no_worse_than_its_best_order_on_validation_and_nothing_is_masked_here() -> None:
    # Order 2 in truth: high orders see too little, low ones know too little.
    rng = np.random.default_rng(3)
    p = rng.dirichlet([0.5] * 4, size=16)
    text, word = [], 0
    for _ in range(40_000):
        base = int(rng.choice(4, p=p[word]))
        text.append("ACGT"[base])
        word = (4 * word + base) % 16
    corpus = split("".join(text), (0, 5000), (5000, 10_000), (10_000, 40_000))
    markov, mixture = context_baselines(corpus, 6, both_strands=False)
    assert markov.best_order == 2
    assert min(mixture.valid) <= min(markov.valid) + 1e-3
    assert mixture.bits_per_base == pytest.approx(markov.bits_per_base, abs=0.01)
    assert mixture.test[6] < markov.test[6] - 0.01, "it leans on shorter contexts where a Markov model cannot"
    assert (mixture.masked, markov.unmasked) == (None, None)
