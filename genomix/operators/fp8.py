"""Linear maps in 8-bit floats, with the scales that a checkpoint was trained with.

``xq = e4m3(x s_x)``, ``wq = e4m3(w s_w)``, ``y = (xq wq^T) / (s_x s_w)``, both factors saturating at 448. Models that
were trained so need it at inference: Evo 2 1B, 20B and 40B lose most of their accuracy in bf16. The larger two have
also learned the reduced precision in which Hopper GPUs add the products ("fast accumulation"), so that exact sums of
the same 8-bit numbers are not enough for them. Source: Micikevicius et al. 2022, FP8 formats, arXiv:2209.05433.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from genomix.operators.precision import KeepsPrecision

E4M3_MAX = 448.0
ROW_MULTIPLE = 16
"""The matrix product takes rows in multiples of this; the missing ones are zeros and cut off afterwards."""

_NEEDED_CAPABILITY = (8, 9)


def why_not_fp8(device: torch.device | str) -> str | None:
    """Return why 8-bit matrix products cannot run on a device, or None."""
    where = torch.device(device)
    if where.type != "cuda":
        return f"they need a CUDA GPU, and the device is {where}"
    if not torch.cuda.is_available():
        return "PyTorch sees no CUDA device"
    capability = torch.cuda.get_device_capability(where)
    if capability < _NEEDED_CAPABILITY:
        return (
            f"they need compute capability 8.9 (Ada, Hopper or newer), and {torch.cuda.get_device_name(where)} "
            f"has {capability[0]}.{capability[1]}"
        )
    return None


def quantize_e4m3(x: Float[Tensor, "*shape"], scale: Float[Tensor, ""]) -> Tensor:
    """Return ``x * scale`` rounded to the nearest 8-bit float (4 bits of exponent, 3 of mantissa), saturating."""
    return (x.float() * scale.float()).clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)


def fp8_linear(
    x: Float[Tensor, "*shape K"], quantized_weight: Tensor, input_scale: Tensor, weight_scale: Tensor
) -> Float[Tensor, "*shape N"]:
    """Return ``x w^T`` through the GPU's 8-bit matrix product with fast accumulation, in bf16.

    Args:
        x: Input; quantized here.
        quantized_weight: ``(N, K)``, of `quantize_e4m3`; N and K are multiples of 16.
        input_scale: Of the input.
        weight_scale: That the weight was quantized with.
    """
    rows = x.reshape(-1, x.shape[-1])
    padded = F.pad(rows, (0, 0, 0, -len(rows) % ROW_MULTIPLE))
    y = torch._scaled_mm(
        quantize_e4m3(padded, input_scale),
        quantized_weight.t(),
        scale_a=input_scale.float().reciprocal(),
        scale_b=weight_scale.float().reciprocal(),
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return y[: len(rows)].reshape(*x.shape[:-1], -1)


def fp8_linear_exact(
    x: Float[Tensor, "*shape K"], quantized_weight: Tensor, input_scale: Tensor, weight_scale: Tensor
) -> Float[Tensor, "*shape N"]:
    """Return what `fp8_linear` would if it added exactly, on any device; slow, for comparison."""
    products = quantize_e4m3(x, input_scale).double() @ quantized_weight.double().t()
    return (products / (input_scale.double() * weight_scale.double())).to(torch.bfloat16)


class ScaledLinear(KeepsPrecision, nn.Linear):
    """A linear map without bias that can run in 8 bits with stored scales; a plain one until `enable_fp8`.

    Scales that are NaN are not known: a new model has none.
    """

    precise = ("input_scale", "weight_scale")
    input_scale: Tensor
    weight_scale: Tensor

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__(d_in, d_out, bias=False)
        for name in self.precise:
            self.register_buffer(name, torch.tensor(float("nan"), dtype=torch.float32))
        self.runs_fp8 = False
        self._quantized: Tensor | None = None

    @property
    def has_scales(self) -> bool:
        """Whether both scales are known."""
        return bool(torch.isfinite(self.input_scale) & torch.isfinite(self.weight_scale))

    def forward(self, x: Float[Tensor, "*shape K"]) -> Float[Tensor, "*shape N"]:
        """Return the map of ``x``, in its dtype."""
        if not self.runs_fp8:
            return F.linear(x, self.weight)
        if self._quantized is None or self._quantized.device != self.weight.device:
            self._quantized = quantize_e4m3(self.weight, self.weight_scale)
        return fp8_linear(x, self._quantized, self.input_scale, self.weight_scale).to(x.dtype)


def scaled_linears(model: nn.Module) -> list[ScaledLinear]:
    """Return the linear maps of a model that can run in 8 bits."""
    return [module for module in model.modules() if isinstance(module, ScaledLinear)]


def why_model_not_fp8(model: nn.Module, device: torch.device | str) -> str | None:
    """Return why a model cannot run in the 8 bits that it was trained in, or None."""
    if not all(linear.has_scales for linear in scaled_linears(model)):
        return "the checkpoint holds no scales for them"
    return why_not_fp8(device)


def enable_fp8(model: nn.Module) -> None:
    """Make every `ScaledLinear` of a model run in 8 bits; for inference, on a device that `why_not_fp8` accepts."""
    for linear in scaled_linears(model):
        linear.runs_fp8 = True
