"""Which operations are measured at which shapes.

The full list holds the shapes at which other libraries were measured (a layer of Evo 2 7B has 4,096 channels, HyenaDNA
256); the quick one is small enough for a CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

OPERATIONS = ("fftconv", "modal_conv", "causal_fir", "hyena_gated")
MODES = ("fwd", "fwdbwd")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
FFTCONV_TOKENS = 1 << 20
"""Batch times seqlen of `fftconv`, where one sequence is not longer."""


class RequestError(ValueError):
    """What was asked for cannot be measured: an unknown operation, backend, dtype or device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One operation at one shape.

    Args:
        op: Of `OPERATIONS`.
        variant: Inner filter of `hyena_gated`: ``se``, ``mr``, ``li``; else None.
        is_gated: Whether the input and the output are multiplied by gates.
        batch: Sequences.
        channels: Channels of the output.
        seqlen: Tokens of a sequence.
        filter_len: Taps of the (inner) filter; None if it is as long as the sequence.
        n_groups: Filters, each serving ``channels / n_groups`` neighbours; None if each channel has its own.
        n_modes: Exponentials a channel of a modal filter.
        dtype: Of `DTYPES`, of activations and of what a model in that dtype holds in it.
    """

    op: str
    variant: str | None = None
    is_gated: bool = False
    batch: int = 1
    channels: int
    seqlen: int
    filter_len: int | None = None
    n_groups: int | None = None
    n_modes: int | None = None
    dtype: str = "bf16"

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of the activations."""
        return DTYPES[self.dtype]

    @property
    def channels_per_filter(self) -> int:
        """How many neighbouring channels one filter serves."""
        return self.channels // (self.n_groups or self.channels)

    def __str__(self) -> str:
        parts = [self.op, self.variant, "gated" if self.is_gated else None]
        sizes = f"B={self.batch} D={self.channels} L={self.seqlen:,}"
        taps = f" K={self.filter_len}" if self.filter_len else ""
        return f"{' '.join(part for part in parts if part)} {sizes}{taps}"


@dataclass(frozen=True, slots=True)
class _Family:
    case: Case
    lengths: tuple[int, ...]


def list_cases(
    ops: Sequence[str], *, lengths: Sequence[int] | None = None, dtype: str = "bf16", quick: bool = False
) -> list[Case]:
    """Return the cases of these operations, in the order in which they are measured.

    Args:
        ops: Of `OPERATIONS`.
        lengths: Tokens of a sequence, instead of those of the list.
        dtype: Of `DTYPES`.
        quick: The small list.

    Raises:
        RequestError: if an operation, a dtype or a length does not exist.
    """
    if unknown := [op for op in ops if op not in OPERATIONS]:
        raise RequestError(f"unknown operation {unknown[0]!r}; there are {', '.join(OPERATIONS)}.")
    if dtype not in DTYPES:
        raise RequestError(f"unknown dtype {dtype!r}; there are {', '.join(DTYPES)}.")
    if lengths is not None and (not lengths or min(lengths) < 1):
        raise RequestError(f"lengths are {list(lengths)}; give one or more whole numbers above zero.")
    families = _quick_families() if quick else _full_families()
    return [
        _at_length(family.case, seqlen, dtype, keeps_batch=quick)
        for op in ops
        for family in families
        if family.case.op == op
        for seqlen in (lengths or family.lengths)
    ]


def _at_length(case: Case, seqlen: int, dtype: str, *, keeps_batch: bool) -> Case:
    batch = case.batch
    if case.op == "fftconv" and not keeps_batch:
        batch = max(1, FFTCONV_TOKENS // seqlen)
    return replace(case, seqlen=seqlen, batch=batch, dtype=dtype)


def _full_families() -> list[_Family]:
    fftconv = Case(op="fftconv", channels=256, seqlen=1)
    modal = Case(op="modal_conv", channels=4096, seqlen=1, n_modes=16)
    fir = Case(op="causal_fir", channels=4096, seqlen=1)
    medium = replace(fir, filter_len=128, n_groups=256)
    hyena = Case(op="hyena_gated", is_gated=True, channels=4096, seqlen=1)
    powers = tuple(1 << power for power in (10, 12, 14, 16, 18, 20, 21, 22))
    return [
        _Family(fftconv, (*powers, 160_000, 450_000, 524_288)),
        _Family(modal, (8192, 65_536, 262_144, 1_048_576)),
        _Family(replace(modal, is_gated=True), (65_536,)),
        _Family(replace(fir, filter_len=3), (65_536,)),
        _Family(replace(fir, filter_len=7), (65_536,)),
        _Family(medium, (65_536,)),
        _Family(replace(fir, filter_len=7, is_gated=True), (65_536,)),
        _Family(replace(medium, is_gated=True), (65_536,)),
        *(_Family(each, (8192, 65_536, 262_144)) for each in _hyena_variants(hyena, n_groups=256)),
    ]


def _quick_families() -> list[_Family]:
    fftconv = Case(op="fftconv", channels=16, batch=2, seqlen=1)
    modal = Case(op="modal_conv", channels=32, seqlen=1, n_modes=16)
    fir = Case(op="causal_fir", channels=32, seqlen=1)
    hyena = Case(op="hyena_gated", is_gated=True, channels=16, seqlen=1)
    return [
        _Family(fftconv, (1024, 3000)),
        _Family(modal, (1024, 4096)),
        _Family(replace(modal, is_gated=True), (1024,)),
        _Family(replace(fir, filter_len=3), (1024,)),
        _Family(replace(fir, filter_len=7), (1024,)),
        _Family(replace(fir, filter_len=128, n_groups=4), (1024,)),
        _Family(replace(fir, filter_len=7, is_gated=True), (1024,)),
        *(_Family(each, (1024,)) for each in _hyena_variants(hyena, n_groups=4)),
    ]


def _hyena_variants(hyena: Case, *, n_groups: int) -> list[Case]:
    """Return the three Hyena operators of Evo 2: SE has 7 taps, MR 128, LI 16 modes."""
    return [
        replace(hyena, variant="se", filter_len=7, n_groups=n_groups),
        replace(hyena, variant="mr", filter_len=128, n_groups=n_groups),
        replace(hyena, variant="li", n_modes=16),
    ]
