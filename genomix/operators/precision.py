"""Tensors that must not be rounded when a model is moved to half precision."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn


class KeepsPrecision(nn.Module):
    """A module some of whose tensors stay in fp32 (or fp64) under ``.to(torch.bfloat16)`` and ``.half()``.

    They still move between devices, and still follow ``.double()`` and ``.float()``.
    """

    precise: ClassVar[tuple[str, ...]] = ()
    """Their names."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept = {id(getattr(self, name)) for name in self.precise}

        def gentle(tensor: Tensor) -> Tensor:
            changed = fn(tensor)
            if id(tensor) in kept and changed.is_floating_point() and torch.finfo(changed.dtype).bits < 32:
                return tensor.to(changed.device)
            return changed

        applied: Any = super()._apply(gentle, recurse)  # type: ignore[no-untyped-call]
        assert applied is self
        return self
