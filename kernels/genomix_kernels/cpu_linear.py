"""Linear maps of fp32 on a CPU by oneDNN, where MKL, which PyTorch gives them to, leaves half of the processor idle.

MKL runs AVX2 code on processors of AMD that have AVX-512; oneDNN, which is in the same wheel, runs AVX-512. On one core
of an EPYC, 2,048 rows of 160 times a matrix of 160 x 448: 249 against 111 GFLOPS. Sums are fp32 in both.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from genomix_kernels.dispatch import ENVIRONMENT_VARIABLE

_CPUINFO = Path("/proc/cpuinfo")


class OneDnnLinear(TorchFunctionMode):
    """While it is entered, in this thread: linear maps of fp32 tensors on a CPU are oneDNN's. Without gradients only.

    These are ``F.linear``, and ``torch.bmm`` of one matrix that is expanded over the batch.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return what ``func`` gives for its arguments, beyond rounding."""
        if func in (F.linear, torch.bmm) and not kwargs and _are_plain(args):
            if func is F.linear:
                return _linear(*args)
            if args[0].stride(0) == 0:
                return torch.stack([_linear(args[0][0], each.t()) for each in args[1]])
        return func(*args, **(kwargs or {}))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def _are_plain(args: Sequence[Any]) -> bool:
    return (
        not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and all(
            each is None
            or (type(each) in (Tensor, torch.nn.Parameter) and each.dtype is torch.float32 and each.is_cpu)
            for each in args
        )
        and all(each is None or each.numel() > 0 for each in args)
    )


@functools.cache
def why_not() -> str | None:
    """Return why `OneDnnLinear` would gain nothing here, or cannot be, or None."""
    if os.environ.get(ENVIRONMENT_VARIABLE, "").split(",")[0] == "reference":
        return f"{ENVIRONMENT_VARIABLE} asks for the plain formulas"
    has_onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    if not has_onednn or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return "this build of PyTorch has no oneDNN"
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return "the processor has no AVX-512"
    vendor = "AuthenticAMD"
    if not _CPUINFO.exists() or vendor not in _CPUINFO.read_text(encoding="utf-8", errors="replace"):
        return "MKL uses all of the processor"
    return None
