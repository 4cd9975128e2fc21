"""Gates around a long convolution that knows none: ``post_gate * conv(pre_gate * u)``, each product rounded."""

from collections.abc import Callable

from torch import Tensor


def gated(convolution: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return a convolution of the arguments of `fftconv`, computed by one of ``(u, h, skip)``."""

    def call(
        u: Tensor,
        h: Tensor,
        skip: Tensor,
        pre_gate: Tensor | None = None,
        post_gate: Tensor | None = None,
        keeps_spectrum: bool = False,
    ) -> Tensor:
        del keeps_spectrum  # transforms of torch are not kept
        y = convolution(u if pre_gate is None else u * pre_gate, h, skip)
        return y if post_gate is None else y * post_gate

    return call
