"""Linear maps between features-last and channels-first tensors: `linear` and a transpose, in the layouts asked for."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from genomix_kernels.channel_major import from_channels, to_channels
from genomix_kernels.testing import check_against_reference

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
SIZES = [(1, 1, 1, 1), (1, 65, 8, 24), (3, 63, 16, 5), (3, 1, 7, 30)]


def to_channels_by_linear(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x, weight).transpose(1, 2)


def from_channels_by_linear(y: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(y.transpose(1, 2), weight, bias)


def make(*shape: int, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Tensor:
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    return torch.randn(shape, generator=generator).to(device, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_to_channels(size: tuple[int, int, int, int], dtype: torch.dtype, device: str) -> None:
    batch, seqlen, features, channels = size
    inputs = {
        "x": make(batch, seqlen, features, dtype=dtype, device=device),
        "weight": make(channels, features, dtype=dtype, device=device),
    }
    check_against_reference(to_channels, to_channels_by_linear, inputs, dtype=dtype)


@pytest.mark.parametrize("has_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_from_channels(
    size: tuple[int, int, int, int], dtype: torch.dtype, has_bias: bool, device: str
) -> None:
    batch, seqlen, features, channels = size
    inputs = {
        "y": make(batch, channels, seqlen, dtype=dtype, device=device),
        "weight": make(features, channels, dtype=dtype, device=device),
    }
    if has_bias:
        inputs["bias"] = make(features, dtype=dtype, device=device)
    check_against_reference(from_channels, from_channels_by_linear, inputs, dtype=dtype)


@pytest.mark.parametrize("batch", [1, 2])
def test_gradcheck(batch: int) -> None:
    x, weight = make(batch, 5, 4).requires_grad_(), make(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(to_channels, (x, weight))
    y, back = make(batch, 3, 5).requires_grad_(), make(4, 3).requires_grad_()
    assert torch.autograd.gradcheck(from_channels, (y, back, make(4).requires_grad_()))
    assert torch.autograd.gradcheck(from_channels, (y, back))


@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_and_gradients_lie_as_the_neighbours_read_them(batch: int, device: str) -> None:
    x = make(batch, 10, 4, dtype=torch.float32, device=device)
    weight, back = (
        make(6, 4, dtype=torch.float32, device=device),
        make(4, 6, dtype=torch.float32, device=device),
    )
    gradients: dict[str, Tensor] = {}

    def keep(name: str, tensor: Tensor) -> Tensor:
        tensor.register_hook(lambda gradient: gradients.update({name: gradient}))  # type: ignore[no-untyped-call]
        return tensor

    y = to_channels(keep("x", x.requires_grad_().clone()), weight)
    assert y.shape == (batch, 6, 10)
    assert y.is_contiguous()
    out = from_channels(keep("y", y), back)
    assert out.shape == (batch, 10, 4)
    assert out.is_contiguous()
    torch.autograd.backward(out, make(batch, 10, 4, dtype=torch.float32, device=device))
    assert gradients["x"].is_contiguous()
    assert gradients["y"].is_contiguous()


def test_strides_are_free() -> None:
    x, weight = make(3, 8, 10).transpose(1, 2), make(5, 16)[:, ::2]
    torch.testing.assert_close(to_channels(x, weight), to_channels_by_linear(x, weight))
    y, bias = make(3, 10, 16)[..., ::2].transpose(1, 2), make(10)[::2]
    torch.testing.assert_close(from_channels(y, weight, bias), from_channels_by_linear(y, weight, bias))


def test_only_gradients_that_are_needed_are_taken() -> None:
    x, weight = make(2, 5, 4), make(3, 4).requires_grad_()
    torch.autograd.backward(to_channels(x, weight).sum())
    assert x.grad is None
    torch.testing.assert_close(weight.grad, x.sum((0, 1)).expand(3, 4))
    y, back, bias = make(2, 3, 5).requires_grad_(), make(4, 3), make(4)
    torch.autograd.backward(from_channels(y, back, bias).sum())
    torch.testing.assert_close(y.grad, back.sum(0)[None, :, None].expand(2, 3, 5))
    assert back.grad is None
    assert bias.grad is None


def test_autocast_takes_the_products_in_its_dtype(device: str) -> None:
    x = make(2, 9, 4, dtype=torch.float32, device=device).requires_grad_()
    weight = make(6, 4, dtype=torch.float32, device=device).requires_grad_()
    bias = make(4, dtype=torch.float32, device=device).requires_grad_()
    with torch.autocast(device, dtype=torch.bfloat16):
        y = to_channels(x, weight)
        out = from_channels(y, weight.t(), bias)
    assert y.dtype is torch.bfloat16
    assert out.dtype is torch.bfloat16
    torch.autograd.backward(out.float().sum())
    for tensor in (x, weight, bias):
        assert tensor.grad is not None
        assert tensor.grad.dtype is torch.float32


def test_parameters_in_fp32_serve_a_bias_to_16_bits() -> None:
    y, weight = make(2, 3, 5, dtype=torch.bfloat16), make(4, 3, dtype=torch.bfloat16)
    bias = make(4, dtype=torch.float32).requires_grad_()
    out = from_channels(y, weight, bias)
    assert out.dtype is torch.bfloat16
    torch.autograd.backward(out.sum())
    assert bias.grad is not None
    assert bias.grad.tolist() == [10.0] * 4
