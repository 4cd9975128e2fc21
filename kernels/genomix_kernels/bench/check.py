"""How far a backend is from float64, on the channels of a few filters.

The whole result is looked through for NaN and infinities; its error is taken on a few filters' channels, over the whole
length, since float64 cannot afford all. There every convolution is a product of float64 FFTs, and a modal filter is
written out first. What rounding the exact result to the dtype of the activations would cost is the error that no
backend avoids, and the ratio to it tells how much more a backend loses.
"""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from genomix_kernels.bench.cases import Case
from genomix_kernels.bench.inputs import cut_group
from genomix_kernels.testing import TOLERANCE, relative_rms_error

CHANNELS, ELEMENTS = 8, 1 << 22
"""About how many channels are compared, and how many elements at most unless two channels or a filter have more."""
_SLAB = 1 << 30
WRONG = 10.0
"""A result off by more than so many tolerances is wrong, and its time says nothing."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Results in float64 by name, ``y`` and ``d<input>``; one of each per filter in `groups`."""

    groups: tuple[int, ...]
    tensors: Mapping[str, tuple[Tensor, ...]]
    rounding: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Check:
    """How a result compares with float64.

    Args:
        errors: Relative RMS error of the output and of each gradient, by name.
        worst: The name with the largest error.
        rel_err: That error; infinite if an element of the whole result is.
        err_over_rounding: The largest ratio to what rounding the exact result to the activations' dtype costs.
        is_within_tolerance: Whether every error is within `genomix_kernels.testing.TOLERANCE`.
        wrong: What is wrong with the result, or None.
    """

    errors: Mapping[str, float]
    worst: str
    rel_err: float
    err_over_rounding: float
    is_within_tolerance: bool
    wrong: str | None


def expect(case: Case, inputs: Mapping[str, Tensor], dy: Tensor) -> Expected:
    """Return what a few filters' channels give in float64, gradients included."""
    groups = _pick_groups(case)
    found: dict[str, list[Tensor]] = {}
    for group in groups:
        cut = cut_group({**inputs, "dy": dy}, case, group)
        cotangent = cut.pop("dy").double()
        exact = {name: tensor.detach().double().requires_grad_() for name, tensor in cut.items()}
        y = _in_float64(case, exact)
        gradients = torch.autograd.grad(y, list(exact.values()), cotangent)
        found.setdefault("y", []).append(y.detach())
        for name, gradient in zip(exact, gradients, strict=True):
            found.setdefault(f"d{name}", []).append(gradient)
    rounding = {}
    for name, tensors in found.items():
        joined = _join(tensors)
        rounding[name] = relative_rms_error(joined.to(case.torch_dtype), joined)
    return Expected(groups, {name: tuple(tensors) for name, tensors in found.items()}, rounding)


def check(case: Case, expected: Expected, actual: Mapping[str, Tensor]) -> Check:
    """Return the errors of a result: ``y`` alone, or with the gradients ``d<input>`` of every input."""
    errors = {}
    for name, tensor in actual.items():
        own = name if name == "y" else name[1:]
        parts = [cut_group({own: tensor}, case, group)[own] for group in expected.groups]
        # a tensor that has NaN or infinities anywhere has them in its extremes
        is_finite = bool(torch.isfinite(torch.stack(torch.aminmax(tensor.detach()))).all())
        errors[name] = (
            relative_rms_error(_join(parts), _join(expected.tensors[name])) if is_finite else torch.inf
        )
    worst = max(errors, key=lambda name: errors[name])
    rel_err, tolerance = errors[worst], TOLERANCE[case.torch_dtype]
    wrong = None
    if rel_err == torch.inf:
        wrong = f"{worst} has NaN or infinities"
    elif rel_err > WRONG * tolerance:
        wrong = f"relative RMS error of {worst} is {rel_err:.3g}; {tolerance:.3g} is the tolerance"
    ratios = [error / max(expected.rounding[name], 1e-300) for name, error in errors.items()]
    return Check(errors, worst, rel_err, max(ratios), rel_err <= tolerance, wrong)


@contextlib.contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill new tensors with NaN meanwhile, so that an element which a kernel does not write is found."""
    was = torch.are_deterministic_algorithms_enabled()
    was_warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*deterministic.*")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was, warn_only=was_warn_only)


def _pick_groups(case: Case) -> tuple[int, ...]:
    """Return a few filters, the first and the last among them, or the last if one has elements enough."""
    n_filters = case.channels // case.channels_per_filter
    elements = case.batch * case.channels_per_filter * case.seqlen
    wanted = min(CHANNELS // case.channels_per_filter, ELEMENTS // elements)
    fewest = 1 if case.channels_per_filter > 1 and elements > ELEMENTS // 2 else 2
    n = min(n_filters, max(fewest, wanted))
    if n == 1:
        return (n_filters - 1,)
    return tuple(round(i * (n_filters - 1) / (n - 1)) for i in range(n))


def _is_finite(tensor: Tensor) -> bool:
    axis = 1 if tensor.ndim == 3 else 0
    slab = max(1, _SLAB * tensor.shape[axis] // tensor.numel())
    # NaN and infinities show in the extremes, which unlike isfinite take no memory
    return all(
        bool(torch.isfinite(torch.stack(torch.aminmax(part.detach()))).all())
        for part in torch.split(tensor, slab, dim=axis)
    )


def _join(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def _in_float64(case: Case, x: Mapping[str, Tensor]) -> Tensor:
    """Return ``y`` of the channels of one filter; tensors as `make_inputs` names them, all in float64."""
    if case.op == "hyena_gated":
        z = _convolve(x["p"], x["featurizer"].flip(-1))
        post_gate, k, v = torch.unflatten(z, 1, (-1, 3)).unbind(2)
        m = k * v
    else:
        m = x["u"] * x["pre_gate"] if case.is_gated else x["u"]
    y = _convolve(m, _filter(case, x))
    if "skip" in x:
        y = y + x["skip"][:, None] * m
    if case.op == "hyena_gated":
        return post_gate * y
    return x["post_gate"] * y if case.is_gated else y


def _filter(case: Case, x: Mapping[str, Tensor]) -> Tensor:
    if "h" in x:
        return x["h"]
    if "taps" in x:
        # Hyena-SE stores the tap of the current token last, as the featurizer does
        return x["taps"].flip(-1) if case.variant == "se" else x["taps"]
    lags = torch.arange(case.seqlen, device=x["log_poles"].device, dtype=torch.float64)
    return torch.einsum("dn,dnt->dt", x["residues"], torch.exp(x["log_poles"][..., None] * lags))


def _convolve(u: Tensor, h: Tensor) -> Tensor:
    seqlen = u.shape[-1]
    h = h[..., :seqlen]
    fft_size = 1 << (seqlen + h.shape[-1] - 2).bit_length() if seqlen + h.shape[-1] > 2 else 1
    spectrum = torch.fft.rfft(u, n=fft_size) * torch.fft.rfft(h, n=fft_size)
    y: Tensor = torch.fft.irfft(spectrum, n=fft_size)[..., :seqlen]
    return y
