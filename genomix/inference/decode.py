"""Decoding token by token; on a GPU as one replayed CUDA graph.

Launching a model's thousand or so small kernels one by one takes many times as long as running them.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from genomix.inference.causal import CausalModel, ModelState

CACHES = frozenset({"keys", "values"})
"""State tensors that a step only appends to: what a rehearsal leaves in them is written over."""


@runtime_checkable
class SteppingModel(Protocol):
    """A model that can feed one token in place, with nothing that depends on the values of tensors."""

    def step(self, ids: Int[Tensor, "B 1"], state: ModelState) -> Float[Tensor, "B 1 D"]:
        """Return the hidden state of one more token; the state is changed in place."""
        ...


class Decoder:
    """Feeds tokens one at a time, continuing from a state.

    Args:
        model: In eval mode.
        state: After the prompt, with room for all tokens to come; the decoder's own from here on.
    """

    def __init__(self, model: CausalModel, state: ModelState) -> None:
        self._model = model
        self._state = state
        self._graph: torch.cuda.CUDAGraph | None = None
        self._tokens: Tensor | None = None
        self._hidden: Tensor | None = None

    def feed(self, tokens: Int[Tensor, " B"]) -> Float[Tensor, "B 1 D"]:
        """Return the hidden state after one more token of each sequence; valid until the next call."""
        if not isinstance(self._model, SteppingModel) or not tokens.is_cuda:
            hidden, self._state = self._model.extend(tokens[:, None], self._state)
            return hidden
        if self._graph is None:
            self._capture(self._model, tokens)
        assert self._graph is not None
        assert self._tokens is not None
        assert self._hidden is not None
        self._tokens.copy_(tokens[:, None])
        self._graph.replay()
        return self._hidden

    def _capture(self, model: SteppingModel, tokens: Tensor) -> None:
        self._tokens = tokens[:, None].clone()
        before = [
            {name: tensor.clone() for name, tensor in each.items() if name not in CACHES}
            for each in self._state
        ]
        rehearsal = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        rehearsal.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(
            rehearsal
        ):  # libraries allocate their workspaces on first use, which a graph may not
            for _ in range(2):
                model.step(self._tokens, self._state)
        torch.cuda.current_stream().wait_stream(rehearsal)
        for state, saved in zip(self._state, before, strict=True):
            for name, tensor in saved.items():
                state[name].copy_(tensor)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._hidden = model.step(self._tokens, self._state)
