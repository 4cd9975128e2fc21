"""Areas are those of the plain definitions; intervals and bands hold what they should."""

import numpy as np
import pytest

from genomix.evaluation.ranking import roc_points, separation
from genomix.training.metrics import average_precision, binary_auroc


def scores_and_labels(
    n: int, seed: int, *, digits: int | None = None
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.3
    labels[:2] = True, False
    scores = rng.normal(size=n) + labels
    return (scores if digits is None else scores.round(digits)), labels


@pytest.mark.parametrize("digits", [None, 1, 0], ids=["distinct", "ties", "many ties"])
@pytest.mark.parametrize("n", [2, 17, 400])
def test_areas_are_the_plain_ones(n: int, digits: int | None) -> None:
    scores, labels = scores_and_labels(n, n, digits=digits)
    found = separation(scores, labels, n_resamples=100)
    assert found is not None
    assert found.auroc.value == pytest.approx(binary_auroc(scores, labels), abs=1e-12)
    assert found.auprc.value == pytest.approx(average_precision(scores, labels), abs=1e-12)
    assert (found.n_positive, found.n_negative) == (labels.sum(), n - labels.sum())
    assert found.auroc.low <= found.auroc.value <= found.auroc.high


def test_an_interval_is_as_wide_as_theory_says() -> None:
    """Against the standard error of Hanley and McNeil (1982)."""
    scores, labels = scores_and_labels(600, 3)
    found = separation(scores, labels)
    assert found is not None
    area, n_positive, n_negative = found.auroc.value, found.n_positive, found.n_negative
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (n_positive - 1) * (q1 - area**2) + (n_negative - 1) * (q2 - area**2)
    width = 2 * 1.96 * np.sqrt(variance / (n_positive * n_negative))
    assert found.auroc.high - found.auroc.low == pytest.approx(width, rel=0.15)


def test_order_and_scale_change_nothing() -> None:
    scores, labels = scores_and_labels(200, 5, digits=1)
    one = separation(scores, labels, n_resamples=50)
    mixed = np.random.default_rng(0).permutation(200)
    other = separation(np.exp(scores[mixed]), labels[mixed], n_resamples=50)
    assert one is not None
    assert other is not None
    assert one.auroc.value == pytest.approx(other.auroc.value)
    np.testing.assert_allclose(one.roc.x, other.roc.x)
    np.testing.assert_allclose(one.pr.y, other.pr.y)
    again = separation(scores, labels, n_resamples=50)
    assert again is not None
    assert again.auroc == one.auroc, "the same seed, the same interval"


def test_curves_run_from_end_to_end_and_bands_hold_them() -> None:
    scores, labels = scores_and_labels(300, 7)
    found = separation(scores, labels, n_resamples=200)
    assert found is not None
    assert (found.roc.x[0], found.roc.y[0], found.roc.x[-1], found.roc.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(found.roc.y, found.roc.x) == pytest.approx(found.auroc.value)
    assert found.pr.x[-1] == 1
    assert found.pr.y[-1] == pytest.approx(found.prevalence)
    inside = np.interp(found.roc.grid, found.roc.x, found.roc.y)
    assert ((found.roc.low - 1e-9 <= inside) & (inside <= found.roc.high + 1e-9)).mean() > 0.95
    fpr, tpr = roc_points(scores, labels)
    np.testing.assert_allclose((fpr, tpr), (found.roc.x, found.roc.y))


def test_perfect_and_reversed_scores() -> None:
    labels = np.array([True, True, False, False, False])
    best = separation(np.array([5.0, 4, 3, 2, 1]), labels, n_resamples=20)
    worst = separation(np.array([1.0, 2, 3, 4, 5]), labels, n_resamples=20)
    assert best is not None
    assert worst is not None
    assert (best.auroc.value, best.auroc.low, best.auroc.high, best.auprc.value) == (1, 1, 1, 1)
    assert worst.auroc.value == 0


def test_one_side_alone_has_no_area_and_nan_is_refused() -> None:
    assert separation(np.ones(3), np.ones(3, dtype=bool)) is None
    assert separation(np.ones(3), np.zeros(3, dtype=bool)) is None
    with pytest.raises(ValueError, match="NaN"):
        separation(np.array([1.0, np.nan]), np.array([True, False]))
    with pytest.raises(ValueError, match="must fit"):
        separation(np.ones(3), np.ones(2, dtype=bool))


def test_rows_that_belong_together_are_drawn_together() -> None:
    """Copies of a row tell nothing new: drawn with it, they leave the interval as wide as it was."""
    scores, labels = scores_and_labels(200, 11)
    sequence = np.repeat(np.arange(200), 25)
    one = separation(scores, labels, clusters=np.arange(200))
    many = separation(scores[sequence], labels[sequence], clusters=sequence, n_resamples=300)
    naive = separation(scores[sequence], labels[sequence], n_resamples=300)
    assert one is not None
    assert many is not None
    assert naive is not None
    assert many.auroc.value == pytest.approx(one.auroc.value)
    width = one.auroc.high - one.auroc.low
    assert many.auroc.high - many.auroc.low == pytest.approx(width, rel=0.15)
    assert naive.auroc.high - naive.auroc.low < width / 3


def test_draws_of_clusters_have_both_sides() -> None:
    found = separation(
        np.arange(6.0), np.arange(6) >= 3, clusters=np.array([0, 0, 0, 1, 1, 1]), n_resamples=100
    )
    assert found is not None
    assert (found.auroc.value, found.auroc.low, found.auroc.high) == (1, 1, 1)
