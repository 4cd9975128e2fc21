"""What a sequence operator of a block is."""

from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from genomix.operators.state import MixerState


class Mixer(Protocol):
    """A causal map of sequences: position ``t`` of the output depends on positions ``0..t`` of the input.

    Being causal, it can be run piece by piece: `extend` in any chunking gives what `forward` gives on the whole, to
    rounding. A decoder extends by one token, a prefill by many; a million tokens are a loop of `extend` with bounded
    memory; two continuations of one prefix start from copies of one state.
    """

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Return the mixed sequence, of the same shape and dtype as the input."""
        ...

    def init_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype, max_len: int | None = None
    ) -> MixerState:
        """Return what the operator remembers before the first token; ``max_len`` reserves room where that helps."""
        ...

    def extend(
        self, x: Float[Tensor, "B L D"], state: MixerState, keep: Bool[Tensor, "B L"] | None = None
    ) -> tuple[Float[Tensor, "B L D"], MixerState]:
        """Return the outputs at one or more new tokens, and the state after them.

        ``keep`` is False at padding, which may only stand before the first token of a sequence: uneven prompts are
        one batch that ends together.
        """
        ...


class FinishingMixer(Mixer, Protocol):
    """A mixer whose state many sequences can go on from at once, where nothing follows them."""

    def finish(
        self, x: Float[Tensor, "N L D"], state: MixerState, rows: Int[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N L D"]:
        """Return the outputs at L more tokens that nothing follows, so that the state after them is not made.

        Args:
            x: The new inputs.
            state: Of `init_state` or `extend`; left unchanged.
            rows: The sequence of the state that each goes on from, which many may; None: each from its own.
        """
        ...
