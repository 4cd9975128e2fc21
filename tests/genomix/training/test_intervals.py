"""Bootstrap intervals are those of the plain way: draw, score with the ordinary metrics, take percentiles."""

import numpy as np
import pytest
from numpy.typing import NDArray

from genomix.evaluation.resampling import resampled_rows
from genomix.training import intervals
from genomix.training.intervals import bootstrap_intervals
from genomix.training.metrics import classification_metrics
from genomix.training.target_metrics import metrics_of_numbers


def classes(n: int, n_classes: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n)
    scores = rng.dirichlet(np.ones(n_classes), n) + 0.8 * np.eye(n_classes)[truth]
    return (scores / scores.sum(axis=1, keepdims=True)).round(2), truth


@pytest.mark.parametrize("n_classes", [2, 3])
def test_each_resample_has_the_ordinary_metrics(n_classes: int) -> None:
    scores, truth = classes(80, n_classes, 0)
    model = intervals._Classification(scores, truth)
    weights = next(resampled_rows(truth, 5, seed=1))
    np.testing.assert_array_equal(
        [[row[truth == c].sum() for c in range(n_classes)] for row in weights],
        [np.bincount(truth, minlength=n_classes)] * 5,
    )
    found = model.resampled(weights)
    names = [str(c) for c in range(n_classes)]
    for place, row in enumerate(weights):
        rows = np.repeat(np.arange(80), row.astype(int))
        plain = classification_metrics(scores[rows], truth[rows], names)
        for name in ("auroc", "auprc", "mcc", "accuracy", "f1"):
            assert found[name][place] == pytest.approx(plain.value(name), abs=1e-12), name


def test_numbers_likewise_and_missing_ones_are_left_out() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(60, 2))
    scores = truth + rng.normal(size=(60, 2))
    truth[::7, 0] = np.nan
    weights = next(resampled_rows(np.zeros(60, dtype=np.int64), 4, seed=1))
    found = intervals._Regression(scores, truth).resampled(weights)
    for place, row in enumerate(weights):
        rows = np.repeat(np.arange(60), row.astype(int))
        plain = metrics_of_numbers(scores[rows], truth[rows], ["a", "b"])
        for name in ("pearson", "r2", "mse"):
            assert found[name][place] == pytest.approx(plain.value(name), abs=1e-9), name


@pytest.mark.parametrize("value", [0.1, 7.7, 1e6 + 0.3])
def test_a_target_that_does_not_vary_has_no_correlation(value: float) -> None:
    scores = np.random.default_rng(0).normal(value, 1.0, (50, 1))
    assert set(bootstrap_intervals([scores], np.full((50, 1), value), "regressor")) == {"mse"}


def test_more_sequences_leave_less_open_and_the_mean_of_models_lies_inside() -> None:
    widths = []
    for n in (100, 1600):
        models = [classes(n, 2, 0)]
        rng = np.random.default_rng(1)
        scores = [np.clip(models[0][0] + rng.normal(0, 0.1, (n, 2)), 0, 1) for _ in range(3)]
        truth = models[0][1]
        found = bootstrap_intervals(scores, truth, "classifier")
        assert set(found) == {"accuracy", "mcc", "f1", "auroc", "auprc"}
        mean = np.mean([classification_metrics(each, truth, "ab").accuracy for each in scores])
        low, high = found["accuracy"]
        assert low < mean < high
        widths.append(high - low)
        assert found == bootstrap_intervals(scores, truth, "classifier"), "the same every time"
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.4)


def test_where_there_is_nothing_to_resample() -> None:
    scores, truth = classes(20, 2, 0)
    assert bootstrap_intervals([scores], truth, "multilabel") == {}
    one_class = bootstrap_intervals([scores], np.zeros(20, dtype=np.int64), "classifier")
    assert "auroc" not in one_class
    assert "accuracy" in one_class
    known = bootstrap_intervals([scores], np.where(np.arange(20) < 10, truth, -100), "token_classifier")
    assert known == bootstrap_intervals([scores[:10]], truth[:10], "classifier")


def test_bases_of_a_sequence_are_drawn_together() -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat(rng.integers(0, 2, 60), 50)
    right = np.repeat(rng.random(60) < 0.8, 50)  # a sequence is right as a whole, or wrong
    scores = np.eye(2)[np.where(right, truth, 1 - truth)]
    sequence = np.repeat(np.arange(60), 50)
    low, high = bootstrap_intervals([scores], truth, "token_classifier", sequence=sequence)["accuracy"]
    # 60 draws with a chance of 0.8, not 3,000: 2 x 1.96 x sqrt(0.8 x 0.2 / 60)
    assert high - low == pytest.approx(0.20, abs=0.04)
    narrow = bootstrap_intervals([scores], truth, "token_classifier")["accuracy"]
    assert narrow[1] - narrow[0] < (high - low) / 4
