"""L2-regularised linear models, solved to their optimum by L-BFGS in fp64; deterministic.

``min_W,b  mean_i loss(W x_i + b, y_i) + strength / 2 |W|^2``, on features scaled to zero mean and unit variance: with
the cross-entropy of classes a multinomial logistic regression, of labels one logistic regression each, with half the
squared error of numbers a ridge regression. The offset b is not penalised, so that class frequencies cost nothing. The
scaling is folded into W and b at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from genomix.training.losses import classification_loss

MAX_ITERATIONS = 1000
TOLERANCE = 1e-6
"""Largest entry of the gradient at which the fit counts as solved; the solver goes on as far as fp64 lets it."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Mean and scale of each feature over the training set; a feature that does not vary gets no weight."""

    mean: Float[Tensor, " D"]
    inverse: Float[Tensor, " D"]

    @classmethod
    def of(cls, features: Float[Tensor, "n D"]) -> "Scaling":
        """Return the scaling to zero mean and unit variance; 0 for a feature that is constant up to rounding."""
        precise = features.double()
        mean, deviation = precise.mean(dim=0), precise.std(dim=0, correction=0)
        varies = deviation > 1e-6 * mean.abs().clamp(min=1e-6)
        return cls(mean, torch.where(varies, 1 / deviation, 0.0))

    def __call__(self, features: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """Return the features as scaled, in fp64."""
        return (features.double() - self.mean) * self.inverse

    def fold(
        self, weight: Float[Tensor, "C D"], bias: Float[Tensor, " C"]
    ) -> tuple[Float[Tensor, "C D"], Float[Tensor, " C"]]:
        """Return the linear map of unscaled features that equals this one of scaled features."""
        weight = weight.double() * self.inverse
        return weight, bias.double() - weight @ self.mean


@dataclass(frozen=True, slots=True)
class LinearFit:
    """The optimum for one strength.

    Attributes:
        weight: ``(C, D)``, of scaled features, fp64.
        bias: ``(C,)``.
        loss: Mean loss on the training set, without the penalty.
        iterations: That L-BFGS took.
        gradient: Largest entry of the gradient that is left.
    """

    weight: Float[Tensor, "C D"]
    bias: Float[Tensor, " C"]
    loss: float
    iterations: int
    gradient: float

    @property
    def is_solved(self) -> bool:
        """Whether the gradient is zero up to `TOLERANCE`."""
        return self.gradient <= TOLERANCE


class LinearProblem:
    """A linear model of features, for any strength of the penalty.

    The solver works in the principal axes of the features, each divided by the square root of the curvature that it
    roughly has (``variance / 4 + strength``): embeddings are nearly collinear, and without this the weakest strengths
    would take thousands of iterations. The optimum is the same.

    Args:
        features: Scaled, fp64.
        n_outputs: Outputs.
        loss: Mean loss of the outputs of all rows, ``(n, C)``; convex in them.
    """

    def __init__(
        self, features: Float[Tensor, "n D"], n_outputs: int, loss: Callable[[Tensor], Tensor]
    ) -> None:
        self.n_outputs = n_outputs
        self.loss = loss
        self._variances, self._axes = torch.linalg.eigh(features.T @ features / len(features))
        self._rotated = features @ self._axes

    def fit(self, strength: float, start: LinearFit | None = None) -> LinearFit:
        """Return the optimum for a strength.

        Args:
            strength: Of the penalty.
            start: Where to begin: the fit of a neighbouring strength. The optimum does not depend on it.
        """
        curvature = (self._variances.clamp(min=0) / 4 + strength).sqrt()
        features = self._rotated
        weight = features.new_zeros(self.n_outputs, features.shape[1])
        bias = features.new_zeros(self.n_outputs)
        if start is not None:
            weight, bias = start.weight @ self._axes * curvature, start.bias.clone()
        weight.requires_grad_()
        bias.requires_grad_()
        solver = torch.optim.LBFGS(
            [weight, bias],
            max_iter=MAX_ITERATIONS,
            max_eval=2 * MAX_ITERATIONS,
            tolerance_grad=1e-9,
            tolerance_change=0.0,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def data_loss() -> Tensor:
            return self.loss(features @ (weight / curvature).T + bias)

        def objective() -> Tensor:
            solver.zero_grad()
            total = data_loss() + 0.5 * strength * (weight / curvature).square().sum()
            torch.autograd.backward(total)
            return torch.as_tensor(total)

        with torch.enable_grad():
            solver.step(objective)  # type: ignore[no-untyped-call]
            objective()
        assert weight.grad is not None
        assert bias.grad is not None
        gradient = max(float((weight.grad * curvature).abs().max()), float(bias.grad.abs().max()))
        with torch.no_grad():
            return LinearFit(
                weight=(weight / curvature) @ self._axes.T,
                bias=bias.detach(),
                loss=float(data_loss()),
                iterations=int(solver.state[weight]["n_iter"]),
                gradient=gradient,
            )


def logistic_problem(
    features: Float[Tensor, "n D"],
    labels: Int64[Tensor, " n"],
    n_classes: int,
    *,
    class_weights: Float[Tensor, " C"] | None = None,
    label_smoothing: float = 0.0,
) -> LinearProblem:
    """Return the (multinomial) logistic regression of labels on features.

    Args:
        features: Scaled, fp64.
        labels: Class indices.
        n_classes: Classes.
        class_weights: Weight of each class in the loss.
        label_smoothing: Part of the target that is spread over all classes.
    """
    weights = None if class_weights is None else class_weights.to(features)
    return LinearProblem(
        features, n_classes, lambda logits: classification_loss(logits, labels, weights, label_smoothing)
    )
