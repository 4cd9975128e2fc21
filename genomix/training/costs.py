"""Lines through what a few sizes of batches were measured to cost.

    bytes(B, L) = c0 + c1 L + c2 B L        of B windows of L tokens
    seconds(B, L) = s0 + s1 B L             times the work of a token at L

``c0`` is the model and its optimizer, ``c1 L`` what there is once for all windows (implicit filters), ``c2 B L`` the
rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from genomix.models.families import AnyConfig
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.training.footprint import logit_bytes


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One size that was measured.

    Args:
        n_windows: Windows in a batch.
        seqlen: Tokens of each.
        seconds: A batch took.
        peak: Bytes that the process held at most: tensors of a GPU, or its resident set.
        tensors: Bytes of tensors alone, where they were counted (`TensorBytes`).
    """

    n_windows: int
    seqlen: int
    seconds: float
    peak: int
    tensors: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Windows, and tokens of each."""
        return self.n_windows, self.seqlen


@dataclass(frozen=True)
class Costs:
    """What batches of any size cost, from samples of some."""

    config: AnyConfig
    samples: tuple[Sample, ...]

    def peak(self, n_windows: int, seqlen: int) -> int:
        """Return the bytes that a process will hold at most."""
        measured = self._measured(n_windows, seqlen)
        if measured is not None:
            return measured.peak

        # Logits stop growing where they are made in pieces; tensors are linear else. What an allocator holds beside
        # them in the largest batch that was measured, it will hold in a larger one.
        def without_logits(sample: Sample) -> float:
            held = sample.peak if sample.tensors is None else sample.tensors
            return held - logit_bytes(self.config, sample.n_windows * sample.seqlen)

        rest = extrapolated(self.samples, without_logits, n_windows, seqlen)
        last = self.samples[-1]
        beside = last.peak - last.tensors if last.tensors is not None else 0
        return int(rest + beside + logit_bytes(self.config, n_windows * seqlen))

    def seconds(self, n_windows: int, seqlen: int) -> float:
        """Return how long a batch will take."""
        measured = self._measured(n_windows, seqlen)
        if measured is not None:
            return measured.seconds
        # Times are noisy: what a further token takes is that of the largest batch at most, and half of it at least.
        last = self.samples[-1]
        tokens = np.array([sample.n_windows * sample.seqlen for sample in self.samples], dtype=np.float64)
        slope = np.polyfit(tokens, [sample.seconds for sample in self.samples], 1)[0]
        most = last.seconds / tokens[-1]
        further = float(np.clip(slope, most / 2, most)) * (n_windows * seqlen - float(tokens[-1]))
        more_work = flops_per_token(self.config, seqlen) / flops_per_token(self.config, last.seqlen)
        return more_work * (last.seconds + further)

    def _measured(self, n_windows: int, seqlen: int) -> Sample | None:
        return next((sample for sample in self.samples if sample.size == (n_windows, seqlen)), None)


def extrapolated(
    samples: Sequence[Sample], cost: Callable[[Sample], float], n_windows: int, seqlen: int
) -> float:
    """Return ``c0 + c1 L + c2 B L`` for B windows of L tokens, through the largest samples that tell the three apart.

    Where all samples are of one length, or of one window, the two terms in it are one.
    """
    chosen = telling_samples(samples)
    points = [(1.0, s.n_windows * s.seqlen, s.seqlen)[: len(chosen)] for s in chosen]
    coefficients = np.linalg.lstsq(np.array(points), np.array([cost(s) for s in chosen]), rcond=None)[0]
    at = np.array([1.0, n_windows * seqlen, seqlen][: len(chosen)])
    # noise may tilt a line downwards, and a larger batch costs no less than the largest that was measured
    floor = max((cost(s) for s in chosen if s.n_windows <= n_windows and s.seqlen <= seqlen), default=-np.inf)
    return max(float(coefficients @ at), float(floor))


def telling_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Return the largest samples that tell the terms of a cost apart: three, or two of one length or one window."""
    longest = max(sample.seqlen for sample in samples)
    of_longest = sorted((s for s in samples if s.seqlen == longest), key=lambda s: s.n_windows)
    singles = sorted((s for s in samples if s.n_windows == 1), key=lambda s: s.seqlen)
    if len(of_longest) == 1:
        return singles[-2:]
    if len(singles) == 1:
        return of_longest[-2:]
    return [*singles[-2:], of_longest[-1]]


def flops_per_token(config: AnyConfig, seqlen: int) -> float:
    """Return about how much a token is worked on: matrix products with parameters, and causal attention to others."""
    if not isinstance(config, StripedHyena2Config):
        return 1.0  # no attention: linear in the length but for the logarithm of its transforms
    return 6.0 * config.n_parameters + 6.0 * config.pattern.count("A") * seqlen * config.d_model
