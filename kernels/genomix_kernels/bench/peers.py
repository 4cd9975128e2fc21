"""Other libraries' kernels for the same work, each measured only where it is installed.

Their packages are called through what they document; gradients flow back to the same inputs, so that they are checked
exactly as ours are. Weights go in in the dtype that a package asks for, which is part of its error.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from genomix_kernels.bench.cases import Case

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Peer:
    """One other way to compute operations.

    Args:
        name: As result files have it.
        module: What must be importable; None if PyTorch alone is needed.
        needs_cuda: Whether it runs on GPUs alone.
        calls: Operation to a function of a case and its inputs that returns ``y``.
        supports: None, or why the peer cannot serve a case.
    """

    name: str
    module: str | None
    needs_cuda: bool
    calls: Mapping[str, Callable[[Case, Inputs], Tensor]]
    supports: Callable[[Case], str | None]

    def why_unavailable(self, device: str) -> str | None:
        """Return what this machine lacks for the peer, or None."""
        if self.needs_cuda and torch.device(device).type != "cuda":
            return "needs a CUDA device"
        if self.module is not None and importlib.util.find_spec(self.module) is None:
            return f"package {self.module} is not installed"
        return None


def peers() -> tuple[Peer, ...]:
    """Return all peers, in the order in which they are measured."""
    return (
        Peer("torch_conv1d", None, False, {"causal_fir": _torch_conv1d}, _whatever_the_shape),
        Peer("torch_fft", None, False, {"modal_conv": _torch_fft_modal}, _why_not_torch_fft),
        Peer("causal_conv1d", "causal_conv1d", True, {"causal_fir": _causal_conv1d}, _why_not_causal_conv1d),
        _nvidia("subquadratic_ops", "subquadratic_ops_torch", _from_subquadratic_ops),
        _nvidia("cudnn", "cudnn", _from_cudnn),
    )


def _whatever_the_shape(case: Case) -> str | None:
    return None


def _gated(filtered: Callable[[Tensor], Tensor], inputs: Inputs) -> Tensor:
    """Return ``post_gate * filtered(pre_gate * u)``, the gates as operations of their own where there are any."""
    u = inputs["u"] * inputs["pre_gate"] if "pre_gate" in inputs else inputs["u"]
    y = filtered(u)
    if "skip" in inputs:
        y = torch.addcmul(y, inputs["skip"].to(u.dtype)[:, None], u)
    return y * inputs["post_gate"] if "post_gate" in inputs else y


def _conv1d_weight(case: Case, inputs: Inputs) -> Tensor:
    """Return the taps of every channel with the one of the current token last, in the dtype of the input."""
    each = inputs["taps"].repeat_interleave(case.channels_per_filter, dim=0)
    correlated = each if case.variant == "se" else each.flip(-1)
    return correlated.to(case.torch_dtype).contiguous()


def _torch_conv1d(case: Case, inputs: Inputs) -> Tensor:
    weight = _conv1d_weight(case, inputs)[:, None]
    padding = weight.shape[-1] - 1

    def filtered(u: Tensor) -> Tensor:
        return F.conv1d(u, weight, padding=padding, groups=case.channels)[..., : case.seqlen]

    return _gated(filtered, inputs)


def _modal_filter(case: Case, inputs: Inputs) -> Tensor:
    lags = torch.arange(case.seqlen, device=inputs["u"].device, dtype=torch.float32)
    h = torch.zeros(case.channels, case.seqlen, device=inputs["u"].device)
    # a mode at a time: all at once would take modes times the memory of the filter
    for log_pole, residue in zip(inputs["log_poles"].unbind(1), inputs["residues"].unbind(1), strict=True):
        h = torch.addcmul(h, residue[:, None], torch.exp(log_pole[:, None] * lags))
    return h


def _torch_fft_modal(case: Case, inputs: Inputs) -> Tensor:
    h = _modal_filter(case, inputs)
    fft_size = 2 * case.seqlen

    def filtered(u: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(u.float(), n=fft_size) * torch.fft.rfft(h, n=fft_size)
        y: Tensor = torch.fft.irfft(spectrum, n=fft_size)[..., : case.seqlen]
        return y.to(u.dtype)

    return _gated(filtered, inputs)


def _why_not_torch_fft(case: Case) -> str | None:
    return "written-out filters are not measured above 65,536 tokens" if case.seqlen > 65_536 else None


def _causal_conv1d(case: Case, inputs: Inputs) -> Tensor:
    causal_conv1d_fn = importlib.import_module("causal_conv1d").causal_conv1d_fn
    weight = _conv1d_weight(case, inputs)
    return _gated(lambda u: causal_conv1d_fn(u, weight), inputs)


def _why_not_causal_conv1d(case: Case) -> str | None:
    return None if case.filter_len in (2, 3, 4) else f"has 2 to 4 taps, not {case.filter_len}"


def _nvidia(name: str, module: str, load: Callable[[str], Callable[..., Any]]) -> Peer:
    """Return a peer from one of the two packages that have NVIDIA's kernels under the same names and arguments."""

    def fir(case: Case, inputs: Inputs) -> Tensor:
        weight = _conv1d_weight(case, inputs)
        return _gated(lambda u: load("causal_conv1d")(u, weight), inputs)

    def long(case: Case, inputs: Inputs) -> Tensor:
        h = _modal_filter(case, inputs) if case.op == "modal_conv" else inputs["h"]
        return _gated(lambda u: load("fft_causal_conv1d")(u, h.to(u.dtype)), inputs)

    def hyena(case: Case, inputs: Inputs) -> Tensor:
        # both filters correlate: the last tap weighs the current token
        mixer = _conv1d_weight(case, inputs)
        y: Tensor = load("b2b_causal_conv1d")(inputs["p"], inputs["featurizer"], mixer, inputs["skip"])
        return y

    calls = {"causal_fir": fir, "modal_conv": long, "fftconv": long, "hyena_gated": hyena}
    return Peer(name, module, True, calls, _why_not_nvidia)


def _from_subquadratic_ops(function: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(
        importlib.import_module(f"subquadratic_ops_torch.{function}"), function
    )
    return found


def _from_cudnn(function: str) -> Callable[..., Any]:
    has_ops = importlib.util.find_spec("cudnn.ops") is not None
    operations = importlib.import_module("cudnn.ops") if has_ops else None
    found: Callable[..., Any] | None = getattr(operations, function, None)
    if found is None:
        raise RuntimeError(f"this version of nvidia-cudnn-frontend has no cudnn.ops.{function}")
    return found


def _why_not_nvidia(case: Case) -> str | None:
    if case.variant == "li":
        return "its fused operator has explicit taps, no modes"
    if case.op == "modal_conv" and case.seqlen > 65_536:
        return "written-out filters are not measured above 65,536 tokens"
    if case.filter_len is not None and not 2 <= case.filter_len <= 256:
        return f"has 2 to 256 taps, not {case.filter_len}"
    return None
