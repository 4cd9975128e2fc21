"""Transforms of filters that do not change, kept as long as the filter lives.

A frozen filter is transformed once rather than at every call: at batch 1 that is a third of a long convolution. A
transform is larger than its filter, so those of very long filters are made anew each time.
"""

from collections.abc import Callable, Hashable

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

LARGEST = 320 << 20
"""Bytes of a transform that is kept: 256 channels of 131,072 taps with torch.fft, of 262,144 in CUDA C++."""

_kept: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""By filter: of which version of it, made how, and the transform."""


def can_be_kept(h: Tensor, nbytes: int) -> bool:
    """Return whether a transform of so many bytes would be kept.

    Nothing is of a tensor of inference mode, which does not tell when it changes.
    """
    return not h.is_inference() and nbytes <= LARGEST


def spectrum_of(h: Tensor, made_as: Hashable, make: Callable[[], Tensor], keeps: bool) -> Tensor:
    """Return what ``make`` does, or what it did before for this very tensor.

    Args:
        h: The filter; whoever writes to it in place gets a new transform.
        made_as: Whatever else the transform depends on, such as its length. One transform is kept a filter.
        make: Makes the transform.
        keeps: Whether to keep it; False also takes no kept one.
    """
    if not keeps or not can_be_kept(h, 0):
        return make()
    key = (h._version, made_as)
    if h in _kept and _kept[h][0] == key:
        kept: Tensor = _kept[h][1]
        return kept
    spectrum = make()
    if can_be_kept(h, spectrum.nbytes):
        _kept[h] = (key, spectrum)
    return spectrum
