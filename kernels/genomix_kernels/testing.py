"""How exact a kernel must be: one table of tolerances by dtype, and comparison of outputs and gradients.

The error is the RMS of the difference from a float64 reference, relative to the RMS of the reference. A bound is a
small multiple of what PyTorch's own kernels lose in that dtype; to loosen one, a commit of its own says why.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

# rounding the output alone costs about 0.25 eps RMS: 3e-8 in fp32, 2.4e-4 in fp16, 2e-3 in bf16
TOLERANCE: Mapping[torch.dtype, float] = {
    torch.float64: 1e-12,
    torch.float32: 2e-6,
    torch.float16: 1e-3,
    torch.bfloat16: 6e-3,
}

LONG_CONVOLUTION_TOLERANCE = 3.1e-3
"""Of `fftconv` in 16 bits on tensor cores, whose transforms are held in fp16: what the best other library loses."""


def relative_rms_error(actual: Tensor, expected: Tensor) -> float:
    """Return ``rms(actual - expected) / rms(expected)``, taken in float64; NaN and infinities give infinity.

    Where the expected values are all zero, the RMS of the actual ones.
    """
    if actual.shape != expected.shape:
        raise ValueError(f"shapes differ: {tuple(actual.shape)}, expected {tuple(expected.shape)}.")
    difference = actual.detach().double().cpu() - expected.detach().double().cpu()
    if not bool(torch.isfinite(difference).all()):
        return float("inf")
    if difference.numel() == 0:
        return 0.0
    scale = expected.detach().double().square().mean().sqrt().item()
    return difference.square().mean().sqrt().item() / (scale or 1.0)


def assert_close_to_reference(
    actual: Tensor, expected: Tensor, *, dtype: torch.dtype | None = None, name: str = "output"
) -> None:
    """Raise an AssertionError unless ``actual`` is within the tolerance of its dtype.

    Args:
        actual: What a kernel gave.
        expected: What the reference gave, in float64.
        dtype: Whose tolerance counts; that of ``actual`` if None.
        name: For the message.
    """
    tolerance = TOLERANCE[dtype or actual.dtype]
    error = relative_rms_error(actual, expected)
    assert error <= tolerance, f"{name}: relative RMS error {error:.3g} is above {tolerance:.3g}"


def check_against_reference(
    kernel: Callable[..., Tensor],
    reference: Callable[..., Tensor],
    inputs: Mapping[str, Tensor],
    *,
    dtype: torch.dtype,
    seed: int = 0,
) -> None:
    """Compare the output and every gradient of a kernel with those of a reference in float64.

    Args:
        kernel: Takes the inputs as keyword arguments.
        reference: Likewise.
        inputs: Float tensors, in the dtypes in which the kernel takes them; the reference gets them in float64.
        dtype: Whose tolerance counts: the lowest precision among inputs and output.
        seed: Of the random cotangent.

    Raises:
        AssertionError: naming the output or gradient that is too far off.
    """
    ours = {name: tensor.detach().clone().requires_grad_() for name, tensor in inputs.items()}
    theirs = {name: tensor.detach().double().requires_grad_() for name, tensor in inputs.items()}
    actual, expected = kernel(**ours), reference(**theirs)
    assert_close_to_reference(actual, expected, dtype=dtype)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    cotangent = torch.randn(expected.shape, generator=generator, dtype=torch.float64).to(actual)
    torch.autograd.backward(actual, cotangent)
    torch.autograd.backward(expected, cotangent.double())
    for name, tensor in ours.items():
        expected_gradient = theirs[name].grad
        assert tensor.grad is not None and expected_gradient is not None, f"no gradient for {name}"  # noqa: PT018
        assert_close_to_reference(tensor.grad, expected_gradient, dtype=dtype, name=f"gradient of {name}")
