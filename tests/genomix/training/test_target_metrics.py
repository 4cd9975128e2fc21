import numpy as np
import pytest
import torch
from torchmetrics.functional import pearson_corrcoef, r2_score, spearman_corrcoef
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from genomix.training.metrics import average_precision
from genomix.training.target_metrics import multilabel_metrics, regression_metrics, summary


@pytest.mark.parametrize("n_levels", [3, 1000])
def test_against_torchmetrics(n_levels: int) -> None:
    """With many equal scores, and with hardly any."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, n_levels, (200, 2)) / n_levels
    labels = (rng.random((200, 2)) < 0.2 + 0.5 * scores).astype(float)
    for column, found in enumerate(multilabel_metrics(scores, labels, ["a", "b"])):
        x, y = torch.from_numpy(scores[:, column]), torch.from_numpy(labels[:, column]).long()
        assert found.auroc == pytest.approx(float(binary_auroc(x, y)), abs=1e-6)
        assert found.auprc == pytest.approx(float(binary_average_precision(x, y)), abs=1e-6)
    numbers = scores + rng.normal(0, 0.3, scores.shape)
    for column, of in enumerate(regression_metrics(scores, numbers, ["a", "b"])):
        x, y = torch.from_numpy(scores[:, column]), torch.from_numpy(numbers[:, column])
        assert of.pearson == pytest.approx(float(pearson_corrcoef(x, y)), abs=1e-6)
        assert of.spearman == pytest.approx(float(spearman_corrcoef(x, y)), abs=1e-5)
        assert of.r2 == pytest.approx(float(r2_score(x, y)), abs=1e-6)


def test_missing_targets_are_left_out() -> None:
    targets = np.array([[0.0, 1.0], [1.0, np.nan], [np.nan, np.nan], [1.0, 1.0]])
    scores = np.array([[0.1, 0.5], [0.9, 0.0], [0.0, 0.0], [0.8, 0.5]])
    a, b = multilabel_metrics(scores, targets, ["a", "b"])
    assert (a.n, a.n_positive, a.auroc, a.auprc) == (3, 2, 1.0, 1.0)
    assert (b.n, b.n_positive, b.auroc, b.auprc) == (2, 2, None, 1.0)
    assert summary([a, b])["auroc"] == {"mean": 1.0, "median": 1.0}
    of_a, of_b = regression_metrics(scores, targets, ["a", "b"])
    assert of_a.n == 3
    assert of_a.mae == pytest.approx((0.1 + 0.1 + 0.2) / 3)
    assert (of_b.n, of_b.r2, of_b.pearson, of_b.spearman) == (2, None, None, None)


def test_nothing_known_is_not_defined() -> None:
    nothing = np.full((3, 1), np.nan)
    (label,) = multilabel_metrics(np.zeros((3, 1)), nothing, ["a"])
    (target,) = regression_metrics(np.zeros((3, 1)), nothing, ["a"])
    assert (label.n, label.auroc, label.auprc) == (0, None, None)
    assert (target.n, target.mse, target.spearman) == (0, None, None)
    assert summary([target])["mse"] == {"mean": None, "median": None}
    assert summary([]) == {}


def test_constant_scores_have_the_precision_of_chance() -> None:
    assert average_precision(np.ones(4), np.array([True, False, False, False])) == 0.25


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="multi-label task is 2; it must be 0, 1 or missing"):
        multilabel_metrics(np.zeros((1, 1)), np.full((1, 1), 2.0), ["a"])
    with pytest.raises(ValueError, match="do not describe the same"):
        regression_metrics(np.zeros((2, 1)), np.zeros((3, 1)), ["a"])
