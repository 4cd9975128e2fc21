"""A loss whose kernels are launched as CUDA graphs: forward in one launch, backward in another.

Small models keep the host busier than the GPU: a block takes some eighty launches, each of which costs the host more
than many of them cost the GPU. Kernels and their order are the same, and so is what they compute. For
StripedHyena 2 only.

What a graph works in is its own for as long as it exists, about as much as an eager step has at most, and nobody else
can use it between two replays. So there is one graph at a time, which goes, and its memory with it, before batches of
another shape are computed.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomix.heads.build import HeadModel
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training.footprint import part_kept_by_auto
from genomix.training.machine_memory import is_out_of_memory

logger = logging.getLogger(__name__)

MOST_FEATURES = 1 << 27
"""Features of the residual stream, beyond which the host keeps up by itself."""

EAGER_CALLS = 2
"""Of a shape, before it is captured: kernels are compiled in them, and a last smaller batch is not worth a graph."""

Shapes = tuple[tuple[int, ...], ...]


class GraphedLoss:
    """A function of a batch's tensors that is captured once it was called with the same shapes a few times.

    The gradients of a graph are always in the same place: one backward pass for each step, no accumulation. It reads
    parameters where they were when it was captured: `release` it before they are moved.

    Args:
        loss: What is computed; differentiable in the model's parameters.
        model: Whose parameters they are.
    """

    def __init__(self, loss: Callable[..., Tensor], model: HyenaDNA | StripedHyena2 | HeadModel) -> None:
        self._loss = loss
        self._model = model
        self._seen: tuple[Shapes, int] = ((), 0)
        self._graph: _Graph | None = None
        self._too_large: Shapes | None = None
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, *parts: Tensor) -> Tensor:
        """Return the loss of a batch."""
        shapes = tuple(tuple(part.shape) for part in parts)
        if shapes != self._seen[0]:
            self.release()
        calls = self._seen[1]
        self._seen = shapes, calls + 1
        if not self._is_worth_it(parts[0]):
            return self._loss(*parts)
        # One stream for eager calls, capture and replays: nodes that autograd keeps for the parameters belong to the
        # stream that they were made on, and no capture may refer to the default stream.
        if self._stream is None:
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            if self._graph is None and calls >= EAGER_CALLS and shapes != self._too_large:
                self._capture(shapes, parts)
            loss = self._loss(*parts) if self._graph is None else self._graph(*parts)
        current.wait_stream(self._stream)
        return loss

    @property
    def is_captured(self) -> bool:
        """Whether the latest call's shapes have a graph."""
        return self._graph is not None

    def release(self) -> None:
        """Give back the memory of the graph, if there is one; it is captured anew when it is worth it."""
        self._seen = (), 0
        if self._graph is not None:
            torch.cuda.synchronize()
            self._graph = None
            torch.cuda.empty_cache()

    def _capture(self, shapes: Shapes, parts: tuple[Tensor, ...]) -> None:
        parameters = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        assert self._stream is not None
        try:
            self._graph = _Graph(self._loss, parameters, parts, self._stream)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._too_large = shapes
            logger.warning(
                "a CUDA graph of batches of %s does not fit; they are computed without one", shapes[0]
            )
        if self._graph is None:
            torch.cuda.empty_cache()  # of what was captured so far

    def _is_worth_it(self, ids: Tensor) -> bool:
        config = self._model.config
        is_known = isinstance(getattr(self._model, "backbone", self._model), StripedHyena2)
        # On an H200 capturing the backward pass of a HyenaDNA failed ("legacy stream"); until it is known why, none is.
        if not (ids.is_cuda and torch.is_grad_enabled() and is_known):
            return False
        if ids.numel() * config.d_model > MOST_FEATURES:
            return False
        if self._model.recompute != "auto":
            return self._model.recompute == "none"  # what is computed again cannot be captured
        total_memory = torch.cuda.get_device_properties(ids.device).total_memory
        return part_kept_by_auto(config, ids.numel(), total_memory) == 1


class _Graph:
    """A loss and the gradients of parameters, captured; called, it replays.

    `torch.cuda.make_graphed_callables` does as much, but what it returns is a reference cycle, so that a graph that is
    dropped keeps its memory until Python collects cycles, and it captures on a stream that eager steps do not use.

    Args:
        loss: As in `GraphedLoss`.
        parameters: Those that it is differentiated by.
        parts: A batch's tensors, of the shapes that all further ones have.
        stream: What it is captured on, the current one; kernels have run on it before, backward as well.

    Raises:
        torch.OutOfMemoryError: if there is no room.
    """

    def __init__(
        self,
        loss: Callable[..., Tensor],
        parameters: list[torch.nn.Parameter],
        parts: tuple[Tensor, ...],
        stream: torch.cuda.Stream,
    ) -> None:
        self._parameters = parameters
        self._parts = tuple(part.clone() for part in parts)
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        pool = torch.cuda.graph_pool_handle()  # one for both: backward works where forward has left room
        with torch.cuda.graph(self._forward, pool=pool, stream=stream):
            value = loss(*self._parts)
        self._d_loss = torch.empty_like(value)
        # as in an eager step, autocast is for the forward pass alone
        with (
            torch.cuda.graph(self._backward, pool=pool, stream=stream),
            torch.autocast("cuda", enabled=False),
        ):
            self._gradients = torch.autograd.grad(value, parameters, self._d_loss)
        # No reference to the autograd graph of the capture stays: parameters would go on using its nodes.
        self._value = value.detach()

    def __call__(self, *parts: Tensor) -> Tensor:
        """Return the loss of a batch."""
        loss: Tensor = _Replay.apply(self, parts, *self._parameters)  # type: ignore[no-untyped-call]
        return loss

    def replay_forward(self, parts: tuple[Tensor, ...]) -> Tensor:
        """Return the loss, in memory of its own."""
        for own, part in zip(self._parts, parts, strict=True):
            own.copy_(part)
        self._forward.replay()
        return self._value.clone()

    def replay_backward(self, d_loss: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of the parameters, where the next replay will write to."""
        self._d_loss.copy_(d_loss)
        self._backward.replay()
        return tuple(gradient.detach() for gradient in self._gradients)


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: _Graph, parts: tuple[Tensor, ...], *parameters: Tensor) -> Tensor:
        ctx.graph = graph
        return graph.replay_forward(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        # a loss that somebody keeps does not keep the graph
        graph, ctx.graph = ctx.graph, None
        return None, None, *graph.replay_backward(d_loss)
