"""What a sequence operator of a block is."""

from typing import Protocol

from jaxtyping import Float
from torch import Tensor


class Mixer(Protocol):
    """A causal map of sequences: position ``t`` of the output depends on positions ``0..t`` of the input.

    Being causal, a mixer can also be run piece by piece. Two methods will join the protocol for that:
    ``init_state(batch_size)`` returns what the operator remembers before the first token, and
    ``extend(x, state) -> (y, state)`` continues it by one or more tokens, so that any chunking gives what `forward`
    gives on the whole.
    """

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Return the mixed sequence, of the same shape and dtype as the input."""
        ...
