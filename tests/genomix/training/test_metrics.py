import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.functional import classification as reference

from genomix.training.metrics import binary_auroc, classification_metrics


def random_case(n: int, n_classes: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    # Rounded, so that ties occur.
    probabilities = rng.dirichlet(np.ones(n_classes), n).round(1) + 0.01
    return probabilities / probabilities.sum(axis=1, keepdims=True), rng.integers(0, n_classes, n)


@pytest.mark.parametrize("seed", range(5))
def test_two_classes_against_torchmetrics(seed: int) -> None:
    probabilities, labels = random_case(57, 2, seed)
    found = classification_metrics(probabilities, labels, ["no", "yes"])
    scores, target = torch.tensor(probabilities), torch.tensor(labels)
    predicted = torch.tensor(probabilities.argmax(axis=1))
    assert found.accuracy == pytest.approx(float((predicted == target).double().mean()))
    assert found.mcc == pytest.approx(float(reference.binary_matthews_corrcoef(predicted, target)), abs=1e-6)
    assert found.f1 == pytest.approx(float(reference.binary_f1_score(predicted, target)), abs=1e-6)
    assert found.auroc == pytest.approx(float(reference.binary_auroc(scores[:, 1], target)), abs=1e-6)
    assert found.loss == pytest.approx(float(torch.nn.functional.nll_loss(scores.log(), target)))
    assert found.confusion == tuple(map(tuple, reference.binary_confusion_matrix(predicted, target).tolist()))
    assert found.notes == ()


@pytest.mark.parametrize("seed", range(5))
def test_several_classes_against_torchmetrics(seed: int) -> None:
    probabilities, labels = random_case(83, 4, seed)
    found = classification_metrics(probabilities, labels, list("abcd"))
    scores, target = torch.tensor(probabilities), torch.tensor(labels)
    predicted = torch.tensor(probabilities.argmax(axis=1))
    assert found.mcc == pytest.approx(
        float(reference.multiclass_matthews_corrcoef(predicted, target, num_classes=4)), abs=1e-6
    )
    assert found.f1 == pytest.approx(
        float(reference.multiclass_f1_score(predicted, target, average="macro", num_classes=4)), abs=1e-6
    )
    assert found.auroc == pytest.approx(
        float(reference.multiclass_auroc(scores, target, num_classes=4)), abs=1e-6
    )
    matrix = reference.multiclass_confusion_matrix(predicted, target, num_classes=4).tolist()
    assert found.confusion == tuple(map(tuple, matrix))


def test_rows_of_the_confusion_matrix_are_the_true_classes() -> None:
    probabilities = np.array([[0.2, 0.8], [0.3, 0.7], [0.9, 0.1]])
    found = classification_metrics(probabilities, np.array([0, 1, 0]), ["a", "b"])
    assert found.confusion == ((1, 1), (0, 1))
    assert found.accuracy == pytest.approx(2 / 3)


def test_what_is_not_defined_is_decided_and_said() -> None:
    certain = np.array([[0.9, 0.1]] * 4)
    one_label = classification_metrics(certain, np.zeros(4, int), ["a", "b"])
    assert (one_label.mcc, one_label.f1, one_label.auroc) == (0.0, 0.0, None)
    assert len(one_label.notes) == 3
    one_prediction = classification_metrics(certain, np.array([0, 1, 0, 1]), ["a", "b"])
    assert (one_prediction.mcc, one_prediction.f1, one_prediction.auroc) == (0.0, 0.0, 0.5)
    assert one_prediction.notes == ("MCC is 0: all labels, or all predictions, are of one class",)
    impossible = classification_metrics(np.array([[1.0, 0.0]]), np.array([1]), ["a", "b"])
    assert math.isfinite(impossible.loss)


def test_a_class_that_does_not_occur_is_left_out_of_the_mean() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])
    found = classification_metrics(probabilities, np.array([0, 1, 1]), ["a", "b", "c"])
    assert found.auroc == 1.0
    assert found.f1 == pytest.approx(2 / 3)
    assert found.notes == ("AUROC is the mean over the classes that occur; without c",)


def test_auroc_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.4
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[positive] for n in scores[~positive]]
    assert binary_auroc(scores, positive) == pytest.approx(np.mean(pairs))


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(ValueError, match="do not describe the same sequences"):
        classification_metrics(np.empty((0, 2)), np.empty(0, int), ["a", "b"])
