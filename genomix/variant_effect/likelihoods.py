"""What a model gave for the windows of a `WindowSet`, and sums over any stretch of them."""

import numpy as np
from numpy.typing import NDArray

from genomix.variant_effect.window_set import WindowSet


class WindowLikelihoods:
    """Log-likelihoods of windows, summed up from their beginning; N counts for nothing.

    Args:
        windows: What the model was asked for.

    Attributes:
        cumulative: For each window, fp64 in nats: entry ``k`` is the sum over the ``k`` positions after its first one
            (of a branch: after ``start``).
        entropies: Of the predictions that the windows ask for, by number and position, in nats.
    """

    def __init__(self, windows: WindowSet) -> None:
        self._windows = windows.windows
        nothing: NDArray[np.float64] = np.zeros(0)
        self.cumulative = [nothing] * len(windows)
        self.entropies: dict[tuple[int, int], float] = {}

    def total(self, number: int, span: tuple[int, int]) -> float:
        """Return the sum over positions ``span[0]`` to ``span[1] - 1`` of a window; the first is at least 1."""
        begin, end = span
        if begin >= end:
            return 0.0
        window = self._windows[number]
        before = 0.0
        if window.trunk is not None and begin <= window.start:
            before = self.total(window.trunk, (begin, min(end, window.start + 1)))
            begin = window.start + 1
            if begin >= end:
                return before
        sums = self.cumulative[number]
        return before + float(sums[end - 1 - window.start] - sums[begin - 1 - window.start])
