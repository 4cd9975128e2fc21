"""The equation of `hyena_step`, made literal: that of `hyena_gated` for a sequence of one token."""

from jaxtyping import Float
from torch import Tensor

from genomix_kernels.hyena_gated.filters import HyenaState, Modes, Taps
from genomix_kernels.hyena_gated.reference import hyena_gated_reference


def hyena_step_reference(
    p: Float[Tensor, "B C"],
    featurizer: Taps,
    inner: Taps | Modes,
    state: HyenaState,
    is_interleaved: bool,
) -> Float[Tensor, "B D"]:
    """As `hyena_step`; the new state is written over the old one."""
    y, after = hyena_gated_reference(p[..., None], featurizer, inner, is_interleaved, state)
    state.featurizer.copy_(after.featurizer)
    state.inner.copy_(after.inner)
    return y[..., 0]
