import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from genomix.training.linear_probe import Scaling, logistic_problem
from genomix.training.losses import classification_loss


def problem(n: int = 120, d: int = 6, n_classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Nearly collinear features, as embeddings are, and labels that depend on them."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, d, generator=generator, dtype=torch.float64)
    features[:, -1] = features[:, 0] + 1e-3 * features[:, -1]
    noise = torch.randn(n, n_classes, generator=generator, dtype=torch.float64)
    labels = (features[:, :n_classes] + 0.7 * noise).argmax(dim=1)
    return Scaling.of(features)(features), labels


def objective(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor, strength: float) -> Tensor:
    return F.cross_entropy(features @ weight.T + bias, labels) + 0.5 * strength * weight.square().sum()


@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_fit_is_the_optimum(strength: float, n_classes: int) -> None:
    features, labels = problem(n_classes=n_classes)
    fit = logistic_problem(features, labels, n_classes).fit(strength)
    weight, bias = fit.weight.clone().requires_grad_(), fit.bias.clone().requires_grad_()
    total = objective(weight, bias, features, labels, strength)
    gradients = torch.autograd.grad(total, (weight, bias))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-6
    assert fit.is_solved
    assert fit.iterations < 100


@pytest.mark.parametrize("strength", [1.0, 1e-3])
def test_against_newton(strength: float) -> None:
    """The same optimum by another road: Newton's method on all parameters at once."""
    features, labels = problem()
    flat = torch.zeros(3 * 7, dtype=torch.float64)

    def of(parameters: Tensor) -> Tensor:
        return objective(parameters[:18].view(3, 6), parameters[18:], features, labels, strength)

    for _ in range(30):
        gradient: Tensor = torch.func.grad(of)(flat)
        hessian: Tensor = torch.func.hessian(of)(flat)
        flat = flat - torch.linalg.pinv(hessian, rcond=1e-12) @ gradient
    fit = logistic_problem(features, labels, 3).fit(strength)
    torch.testing.assert_close(fit.weight, flat[:18].view(3, 6), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fit.bias, flat[18:], atol=1e-4, rtol=1e-4)


def test_where_it_starts_does_not_matter_and_it_is_deterministic() -> None:
    features, labels = problem()
    solver = logistic_problem(features, labels, 3)
    cold, warm = solver.fit(1e-3), solver.fit(1e-3, start=solver.fit(1.0))
    torch.testing.assert_close(warm.weight, cold.weight, atol=1e-4, rtol=1e-4)
    again = logistic_problem(features, labels, 3).fit(1e-3)
    assert torch.equal(again.weight, cold.weight)
    assert torch.equal(again.bias, cold.bias)


def test_a_strong_penalty_leaves_the_class_frequencies() -> None:
    features, labels = problem(n_classes=2)
    fit = logistic_problem(features, labels, 2).fit(1e6)
    assert float(fit.weight.abs().max()) < 1e-5
    torch.testing.assert_close(
        fit.bias.softmax(dim=0), labels.bincount().double() / len(labels), atol=1e-5, rtol=0
    )


def test_weighted_classes_are_like_repeated_sequences() -> None:
    features, labels = problem(n_classes=2)
    repeated = torch.cat([torch.arange(len(labels)), torch.nonzero(labels == 1)[:, 0]])
    n = len(repeated)
    twice = logistic_problem(features[repeated], labels[repeated], 2).fit(0.1)
    weights = torch.tensor([1.0, 2.0]) * len(labels) / n
    weighted = logistic_problem(features, labels, 2, class_weights=weights).fit(0.1)
    torch.testing.assert_close(weighted.weight, twice.weight, atol=1e-5, rtol=1e-4)


def test_the_scaling_is_folded_into_the_linear_map() -> None:
    features = torch.randn(50, 4, generator=torch.Generator().manual_seed(1)) * 3 + 5
    features[:, 2] = 1.25
    scaling = Scaling.of(features)
    scaled = scaling(features)
    np.testing.assert_allclose(scaled.mean(dim=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(dim=0, correction=0), [1, 1, 0, 1], atol=1e-12)
    weight, bias = torch.randn(2, 4).double(), torch.randn(2).double()
    folded, offset = scaling.fold(weight, bias)
    torch.testing.assert_close(features.double() @ folded.T + offset, scaled @ weight.T + bias)
    assert folded[:, 2].tolist() == [0, 0], "a constant feature has no say, also where it takes another value"


def test_the_loss_of_a_sequence_is_the_same_in_every_batch() -> None:
    logits, labels = torch.randn(9, 3), torch.tensor([0, 1, 2, 2, 1, 0, 0, 1, 2])
    weights = torch.tensor([1.0, 2.0, 0.5])
    for smoothing in (0.0, 0.1):
        whole = classification_loss(logits, labels, weights, smoothing)
        parts = [
            classification_loss(logits[i : i + 3], labels[i : i + 3], weights, smoothing) for i in (0, 3, 6)
        ]
        torch.testing.assert_close(torch.stack(parts).mean(), whole)
    torch.testing.assert_close(classification_loss(logits, labels), F.cross_entropy(logits, labels))
