from typing import Any

import pytest
import torch
from torch import Tensor

from genomix_kernels.fftconv import fftconv
from genomix_kernels.fftconv.reference import fftconv_reference
from genomix_kernels.fftconv.torch_fft import fast_fft_size
from genomix_kernels.testing import assert_close_to_reference, check_against_reference

BACKENDS = ["torch_fft", "reference"]
"""Those that take any dtype and device; `test_fftconv_cuda.py` and `test_flash_fft_conv.py` have the others."""

SHAPES = [(1, 1, 1, 1), (2, 3, 2, 1), (2, 5, 63, 63), (3, 4, 64, 17), (1, 2, 1000, 1000), (2, 2, 1000, 7)]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def make_inputs(shape: tuple[int, int, int, int], dtype: torch.dtype) -> dict[str, Any]:
    batch, channels, seqlen, filter_len = shape
    generator = torch.Generator().manual_seed(7)
    wide = torch.promote_types(dtype, torch.float32)
    return {
        "u": torch.randn(batch, channels, seqlen, generator=generator).to(dtype),
        "h": torch.randn(channels, filter_len, generator=generator).to(wide),
        "skip": torch.randn(channels, generator=generator).to(wide),
    }


def direct_sum(u: Tensor, h: Tensor, skip: Tensor) -> Tensor:
    y = skip[:, None] * u
    for t in range(u.shape[-1]):
        for i in range(min(t + 1, h.shape[-1])):
            y[..., t] += h[:, i] * u[..., t - i]
    return y


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 17, 17), (2, 3, 17, 4)], ids=str)
def test_it_is_the_sum_of_the_equation(backend: str, shape: tuple[int, int, int, int]) -> None:
    inputs = make_inputs(shape, torch.float64)
    assert_close_to_reference(fftconv(**inputs, backend=backend), direct_sum(**inputs))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_output_and_gradients_against_the_reference(
    backend: str, dtype: torch.dtype, shape: tuple[int, int, int, int], device: str
) -> None:
    def kernel(**inputs: Any) -> Tensor:
        return fftconv(**inputs, backend=backend)

    inputs = {name: tensor.to(device) for name, tensor in make_inputs(shape, dtype).items()}
    check_against_reference(kernel, fftconv_reference, inputs, dtype=dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck(backend: str) -> None:
    inputs = make_inputs((2, 3, 9, 5), torch.float64)
    tensors = [tensor.requires_grad_() for tensor in inputs.values()]
    assert torch.autograd.gradcheck(lambda u, h, skip: fftconv(u, h, skip, backend=backend), tensors)


def test_the_reference_can_be_differentiated_twice() -> None:
    inputs = make_inputs((1, 2, 6, 4), torch.float64)
    tensors = [tensor.requires_grad_() for tensor in inputs.values()]
    assert torch.autograd.gradgradcheck(fftconv_reference, tensors)


@pytest.mark.parametrize("needed", ["u", "h", "skip"])
def test_only_the_gradient_that_is_needed(needed: str) -> None:
    inputs = make_inputs((2, 3, 20, 20), torch.float64)
    inputs[needed].requires_grad_()
    torch.autograd.backward(fftconv(**inputs, backend="torch_fft").square().sum())
    ours = inputs[needed].grad
    inputs[needed].grad = None
    torch.autograd.backward(fftconv(**inputs, backend="reference").square().sum())
    theirs = inputs[needed].grad
    assert ours is not None
    assert theirs is not None
    assert_close_to_reference(ours, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_strided_input_gives_the_same(backend: str) -> None:
    inputs = make_inputs((2, 3, 40, 40), torch.float64)
    strided = inputs["u"].transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided.is_contiguous()
    expected = fftconv(**inputs, backend=backend)
    assert_close_to_reference(fftconv(strided, inputs["h"], inputs["skip"], backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_later_input_changes_nothing_earlier(backend: str) -> None:
    inputs = make_inputs((1, 4, 50, 50), torch.float32)
    before = fftconv(**inputs, backend=backend)
    inputs["u"][..., 30:] += 100.0
    change = (fftconv(**inputs, backend=backend) - before).abs()
    assert change[..., :30].max() < 1e-3 * change[..., 30:].max()


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_leaves_the_sum_in_fp32(backend: str) -> None:
    inputs = make_inputs((2, 3, 100, 100), torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = fftconv(**inputs, backend=backend)
    assert inside.dtype is torch.float32
    torch.testing.assert_close(inside, fftconv(**inputs, backend=backend), rtol=0, atol=0)


@pytest.mark.parametrize("minimum", [1, 2, 3, 100, 511, 512, 513, 2051, 2047, 320_003, 2_000_003])
def test_fast_sizes_are_even_enough_and_near(minimum: int) -> None:
    size = fast_fft_size(minimum)
    odd = size
    while odd % 2 == 0:
        odd //= 2
    assert size % 2 == 0
    assert odd in (1, 3, 5, 9, 15, 25, 27)
    assert minimum <= size <= max(2, 1.25 * minimum + 1)


def test_shapes_that_do_not_fit_are_named() -> None:
    u, h, skip = torch.zeros(2, 3, 10), torch.zeros(3, 10), torch.zeros(3)
    with pytest.raises(ValueError, match=r"filter_len is 11; it must be between 1 and seqlen = 10"):
        fftconv(u, torch.zeros(3, 11), skip)
    with pytest.raises(ValueError, match=r"channels differ: u has 3, h has 4, skip has 3"):
        fftconv(u, torch.zeros(4, 10), skip)
    with pytest.raises(ValueError, match=r"takes u \(B, D, L\).* it got \(3, 10\)"):
        fftconv(u[0], h, skip)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gates_are_multiplications_before_and_after(backend: str) -> None:
    inputs = make_inputs((2, 3, 20, 7), torch.float64)
    generator = torch.Generator().manual_seed(8)
    inputs |= {
        name: torch.randn(2, 3, 20, generator=generator).double() for name in ("pre_gate", "post_gate")
    }

    def reference(pre_gate: Tensor, post_gate: Tensor, **rest: Tensor) -> Tensor:
        rest["u"] = rest["u"] * pre_gate
        return fftconv_reference(**rest) * post_gate

    check_against_reference(
        lambda **given: fftconv(**given, backend=backend), reference, inputs, dtype=torch.float64
    )


@pytest.mark.parametrize("name", ["pre_gate", "post_gate"])
def test_a_gate_of_another_shape(name: str) -> None:
    inputs: dict[str, Any] = make_inputs((2, 3, 20, 7), torch.float64)
    with pytest.raises(ValueError, match=rf"{name} has shape \(2, 1, 20\); expected that of u, \(2, 3, 20\)"):
        fftconv(**(inputs | {name: torch.zeros(2, 1, 20)}))
