"""A loss whose kernels are launched as CUDA graphs: forward in one launch, backward in another.

Small models keep the host busier than the GPU: a block takes some eighty launches, each of which costs the host more
than many of them cost the GPU. Kernels and their order are the same, and so is what they compute. For
StripedHyena 2 only.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from genomix.heads.build import HeadModel
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2

MOST_FEATURES = 1 << 27
"""Features of the residual stream, beyond which the host keeps up by itself; a graph's memory is its own for good."""

EAGER_CALLS = 2
"""Of a shape, before it is captured: kernels are compiled in them, and a last smaller batch is not worth a graph."""

Shapes = tuple[tuple[int, ...], ...]


class GraphedLoss:
    """A function of a batch's tensors that is captured once it was called with the same shapes a few times.

    The gradients of a graph are always in the same place: one backward pass for each step, no accumulation.

    Args:
        loss: What is computed; differentiable in the model's parameters.
        model: Whose parameters they are.
    """

    def __init__(self, loss: Callable[..., Tensor], model: HyenaDNA | StripedHyena2 | HeadModel) -> None:
        self._loss = loss
        self._model = model
        self._seen: tuple[Shapes, int] = ((), 0)
        self._graphed: Callable[..., Tensor] | None = None

    def __call__(self, *parts: Tensor) -> Tensor:
        """Return the loss of a batch."""
        shapes = tuple(tuple(part.shape) for part in parts)
        shapes_before, calls = self._seen
        if shapes != shapes_before:
            self._graphed, calls = None, 0
        self._seen = shapes, calls + 1
        if self._graphed is not None:
            return self._graphed(*parts).clone()  # the next replay writes to the same place
        if not self._is_worth_it(parts[0]):
            return self._loss(*parts)
        if calls < EAGER_CALLS:
            return self._on_a_stream_of_its_own(*parts)
        torch.cuda.empty_cache()  # what the eager calls took, the graph cannot
        graphed = torch.cuda.make_graphed_callables(_Loss(self._loss, self._model), parts)
        self._graphed = cast("Callable[..., Tensor]", graphed)
        return self._graphed(*parts).clone()

    def _on_a_stream_of_its_own(self, *parts: Tensor) -> Tensor:
        """Return the loss. Nothing that it leaves for autograd refers to the default stream, which no capture may."""
        current, own = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        own.wait_stream(current)
        with torch.cuda.stream(own):
            loss = self._loss(*parts)
        current.wait_stream(own)
        return loss

    @property
    def is_captured(self) -> bool:
        """Whether the latest call's shapes have a graph."""
        return self._graphed is not None

    def _is_worth_it(self, ids: Tensor) -> bool:
        features = ids.numel() * self._model.config.d_model
        is_kept = self._model.recompute in ("auto", "none")  # what is computed again cannot be captured
        # On an H200 capturing the backward pass of a HyenaDNA failed ("legacy stream"); until it is known why, none is.
        is_known = isinstance(getattr(self._model, "backbone", self._model), StripedHyena2)
        return ids.is_cuda and torch.is_grad_enabled() and is_kept and is_known and features <= MOST_FEATURES


class _Loss(nn.Module):
    """What `make_graphed_callables` takes: it looks for parameters in a module."""

    def __init__(self, loss: Callable[..., Tensor], model: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.model = model

    def forward(self, *parts: Tensor) -> Tensor:
        loss: Tensor = self.loss(*parts)
        return loss
