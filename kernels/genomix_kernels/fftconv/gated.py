"""Gates around a long convolution that knows none: ``post_gate * conv(pre_gate * u)``, each product rounded."""

from collections.abc import Callable

from torch import Tensor


def gated(convolution: Callable[..., Tensor], *, keeps_spectra: bool = False) -> Callable[..., Tensor]:
    """Return a convolution of the arguments of `fftconv`, computed by one of ``(u, h, skip)``.

    Args:
        convolution: It takes ``keeps_spectrum`` as well if ``keeps_spectra``.
        keeps_spectra: Whether it can keep transforms of filters.
    """

    def call(
        u: Tensor,
        h: Tensor,
        skip: Tensor,
        pre_gate: Tensor | None = None,
        post_gate: Tensor | None = None,
        keeps_spectrum: bool = False,
    ) -> Tensor:
        options = {"keeps_spectrum": keeps_spectrum} if keeps_spectra else {}
        y = convolution(u if pre_gate is None else u * pre_gate, h, skip, **options)
        return y if post_gate is None else y * post_gate

    return call
