"""A moving average of the weights, which is often better than the weights of any one step."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages the parameters of a model, ``a = d a + (1 - d) w`` after every step.

    In the first steps ``d`` is ``(1 + step) / (10 + step)``, until that exceeds ``decay``: the random weights of the
    beginning are soon forgotten. It depends on the number of the step only, so that a resumed run goes on exactly.

    Args:
        model: Its parameters are averaged, on their device; buffers are not.
        decay: Of the average, below 1.
        state: What `state_dict` gave in an earlier part of the run; the average starts at the weights otherwise.
    """

    def __init__(self, model: nn.Module, decay: float, state: Mapping[str, Tensor] | None = None) -> None:
        self.decay = decay
        self._names = [name for name, _ in model.named_parameters()]
        self._weights = [parameter for _, parameter in model.named_parameters()]
        self._average = [parameter.detach().clone() for parameter in self._weights]
        if state is not None:
            for name, average in zip(self._names, self._average, strict=True):
                average.copy_(state[name])

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step ``step`` (0-based)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(_held(self._average), _held(self._weights), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model within the block, and the weights back afterwards."""
        weights = _held(self._weights)
        kept = [weight.clone() for weight in weights]
        torch._foreach_copy_(weights, _held(self._average))
        try:
            yield
        finally:
            torch._foreach_copy_(weights, kept)

    @torch.no_grad()
    def take(self) -> None:
        """Put the average into the model for good."""
        torch._foreach_copy_([weight.detach() for weight in self._weights], self._average)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the average by the names of the parameters."""
        return dict(zip(self._names, self._average, strict=True))


def _held(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return what this process holds of tensors: of one that is shared among processes (a DTensor), its part."""
    return [getattr(tensor.detach(), "to_local", tensor.detach)() for tensor in tensors]
