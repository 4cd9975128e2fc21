"""What describes a filter: taps, or a sum of exponentials; and what a filter remembers of the inputs before."""

from typing import Literal, NamedTuple

from torch import Tensor

TapOrder = Literal["convolution", "cross_correlation"]
"""``convolution``: column 0 weighs the current input. ``cross_correlation``: the last column does, as in a `Conv1d`."""


class Taps(NamedTuple):
    """A finite filter, ``y[t] = sum_i h_i m[t-i] + skip m[t]``.

    Attributes:
        h: ``(group, filter_len)``; each row serves ``channels / groups`` neighbouring channels.
        skip: Gain on the unfiltered input, ``(channel,)``, or None.
        order: Which column weighs the current input.
    """

    h: Tensor
    skip: Tensor | None = None
    order: TapOrder = "convolution"


class Modes(NamedTuple):
    """An unlimited filter, ``h[t] = sum_n residues[n] exp(log_poles[n] t)``, with a skip term.

    Attributes:
        log_poles: ``(channel, mode)``, real and negative, fp32.
        residues: ``(channel, mode)``, fp32.
        skip: Gain on the unfiltered input, ``(channel,)``, or None.
        rounds_before_skip: The filtered part is rounded to the activations' dtype before the skip term is added.
    """

    log_poles: Tensor
    residues: Tensor
    skip: Tensor | None = None
    rounds_before_skip: bool = False


class HyenaState(NamedTuple):
    """What continues a gated Hyena operator.

    Attributes:
        featurizer: The last ``F - 1`` projections of each stream, ``(B, 3 D, F - 1)``, in the activations' dtype.
        inner: Of `Taps` the last ``K - 1`` gated inputs, ``(B, D, K - 1)``, in the activations' dtype; of `Modes` the
            modes, ``(B, D, N)``, in fp32 or above.
    """

    featurizer: Tensor
    inner: Tensor
