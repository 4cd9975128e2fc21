"""Rates of a confusion matrix, shares with Wilson intervals, calibration, strata."""

import numpy as np
import pytest

from genomix.evaluation.confusion import confusion_rates, matthews
from genomix.evaluation.proportions import calibration, share_by_quantile, wilson
from genomix.training.metrics import classification_metrics


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_rates_are_those_of_the_metrics(n_classes: int) -> None:
    rng = np.random.default_rng(n_classes)
    names = [f"c{i}" for i in range(n_classes)]
    probabilities = rng.dirichlet(np.ones(n_classes), 200)
    labels = rng.integers(0, n_classes, 200)
    metrics = classification_metrics(probabilities, labels, names)
    found = confusion_rates(np.array(metrics.confusion), names, n_resamples=200)
    assert found.accuracy.value == pytest.approx(metrics.accuracy)
    assert found.mcc.value == pytest.approx(metrics.mcc)
    f1 = found.classes[1].f1 if n_classes == 2 else found.macro_f1
    assert f1.value == pytest.approx(metrics.f1)
    assert sum(each.n for each in found.classes) == 200
    assert found.mcc.low < found.mcc.value < found.mcc.high
    if n_classes == 2:
        assert found.classes[0].specificity.value == pytest.approx(found.classes[1].recall.value)


def test_what_is_not_defined_is_zero() -> None:
    one_class = np.array([[5, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert matthews(one_class[None]).tolist() == [0.0]
    found = confusion_rates(one_class, ["a", "b", "c"], n_resamples=10)
    assert found.accuracy.value == 1
    assert found.balanced_accuracy.value == 1, "over the classes that occur"
    assert found.macro_f1.value == 1, "over the classes that occur or are predicted"
    assert found.classes[1].recall.value == 0


def test_wilson_intervals() -> None:
    """Against the worked values of Newcombe 1998, Statistics in Medicine 17:857 (81 of 263, 15 of 148, 0 of 20)."""
    for successes, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
    ):
        found = wilson(successes, n)
        assert [found.low, found.high] == pytest.approx([low, high], abs=5e-5)
    assert wilson(0, 0).n == 0


def test_calibration_of_a_coin_that_says_what_it_does() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(20000)
    found = calibration(p, rng.random(20000) < p)
    assert found.error < 0.02
    assert found.brier == pytest.approx(1 / 6, abs=0.01)
    assert sum(each.share.n for each in found.bins) == 20000
    off = calibration(np.full(100, 0.95), np.arange(100) < 50)
    assert off.error == pytest.approx(0.45)
    assert (off.bins[0].start, off.bins[0].end) == (0.9, 1.0)
    assert calibration(np.array([1.0]), np.array([True])).bins[0].end == 1.0


def test_strata_hold_every_row_once_and_keep_equal_values_together() -> None:
    x = np.repeat([1.0, 2.0, 3.0], [60, 30, 10])
    wrong = x == 3
    bins = share_by_quantile(x, wrong)
    assert sum(each.share.n for each in bins) == 100
    assert [each.start for each in bins] == [1.0, 2.0, 3.0]
    assert [each.share.value for each in bins] == [0.0, 0.0, 1.0]
    assert len(share_by_quantile(np.ones(9), np.ones(9, dtype=bool))) == 1
    rng = np.random.default_rng(0)
    even = share_by_quantile(rng.random(1000), np.zeros(1000, dtype=bool))
    assert [each.share.n for each in even] == [200] * 5


def test_bases_are_drawn_with_their_sequence() -> None:
    rng = np.random.default_rng(4)
    right = rng.integers(0, 2, 80)  # 80 sequences, of which all bases are right or all are wrong
    one = np.zeros((80, 2, 2), dtype=np.int64)
    one[np.arange(80), 0, 1 - right] = 50
    one[np.arange(80), 1, right] = 50
    whole = one.sum(axis=0)
    found = confusion_rates(whole, ["a", "b"], by_sequence=one)
    naive = confusion_rates(whole, ["a", "b"])
    assert found.accuracy.value == naive.accuracy.value == pytest.approx(right.mean())
    width = 2 * 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 80)
    assert found.accuracy.high - found.accuracy.low == pytest.approx(width, rel=0.15)
    assert naive.accuracy.high - naive.accuracy.low < width / 5
