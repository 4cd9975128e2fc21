import pytest
import torch
from torch import Tensor

from genomix_kernels.causal_fir import causal_fir
from genomix_kernels.causal_fir.reference import causal_fir_reference
from genomix_kernels.dispatch import implementations
from genomix_kernels.testing import assert_close_to_reference, check_against_reference

BACKENDS = [implementation.name for implementation in implementations("causal_fir")]
SHAPES = [(1, 1, 1, 1), (1, 2, 1, 3), (2, 3, 2, 7), (2, 5, 63, 3), (3, 4, 64, 5), (1, 2, 1000, 128)]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def make_inputs(shape: tuple[int, int, int, int], dtype: torch.dtype) -> dict[str, Tensor]:
    batch, channels, seqlen, n_taps = shape
    generator = torch.Generator().manual_seed(3)
    return {
        "u": torch.randn(batch, channels, seqlen, generator=generator).to(dtype),
        "taps": torch.randn(channels, n_taps, generator=generator).to(dtype),
        "bias": torch.randn(channels, generator=generator).to(dtype),
    }


def skip_unless_served(backend: str, inputs: dict[str, Tensor]) -> None:
    """Skip, with the backend's own reason, what it says that it cannot serve."""
    chosen = next(each for each in implementations("causal_fir") if each.name == backend)
    reason = chosen.supports(inputs["u"], inputs["taps"], inputs.get("bias"))
    if reason is not None:
        pytest.skip(f"{backend}: {reason}")


def direct_sum(u: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    y = bias[:, None].expand_as(u).clone()
    for t in range(u.shape[-1]):
        for i in range(min(t + 1, taps.shape[-1])):
            y[..., t] += taps[:, i] * u[..., t - i]
    return y


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES[:5], ids=str)
def test_it_is_the_sum_of_the_equation(backend: str, shape: tuple[int, int, int, int]) -> None:
    inputs = make_inputs(shape, torch.float64)
    skip_unless_served(backend, inputs)
    assert_close_to_reference(causal_fir(**inputs, backend=backend), direct_sum(**inputs))


@pytest.mark.parametrize("n_taps", [17, 64, 65, 127, 128, 129, 200])
@pytest.mark.parametrize("seqlen", [1, 63, 64, 65, 127, 300])
def test_blocks_give_the_same_sum(seqlen: int, n_taps: int) -> None:
    inputs = make_inputs((2, 6, seqlen, n_taps), torch.float64)
    for n_groups in (1, 2, 3, 6):
        inputs["taps"] = make_inputs((1, n_groups, 1, n_taps), torch.float64)["taps"]
        expected = causal_fir(**inputs, backend="reference")
        assert_close_to_reference(causal_fir(**inputs, backend="torch_blocked"), expected)
        assert_close_to_reference(causal_fir(**inputs, backend="torch_conv"), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_output_and_gradients_against_the_reference(
    backend: str, dtype: torch.dtype, shape: tuple[int, int, int, int], device: str
) -> None:
    inputs = {name: tensor.to(device) for name, tensor in make_inputs(shape, dtype).items()}
    if backend == "torch_blocked":
        skip_unless_served(backend, inputs)
    if backend == "torch_conv" and dtype is torch.float16 and device == "cpu":
        with pytest.raises(ValueError, match="does not sum fp16 in fp32"):
            causal_fir(**inputs, backend=backend)
        return

    def kernel(**inputs: Tensor) -> Tensor:
        return causal_fir(**inputs, backend=backend)

    check_against_reference(kernel, causal_fir_reference, inputs, dtype=dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck(backend: str) -> None:
    n_taps = 18 if backend == "torch_blocked" else 4
    inputs = make_inputs((2, 3, 7, n_taps), torch.float64)
    tensors = [tensor.requires_grad_() for tensor in inputs.values()]
    assert torch.autograd.gradcheck(lambda u, taps, bias: causal_fir(u, taps, bias, backend=backend), tensors)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bias_is_optional_and_strides_are_free(backend: str) -> None:
    inputs = make_inputs((2, 3, 40, 20), torch.float64)
    strided = inputs["u"].transpose(1, 2).contiguous().transpose(1, 2)
    expected = causal_fir(inputs["u"], inputs["taps"], inputs["bias"]) - inputs["bias"][:, None]
    assert_close_to_reference(causal_fir(strided, inputs["taps"], backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_later_input_changes_nothing_earlier(backend: str) -> None:
    inputs = make_inputs((1, 4, 50, 19), torch.float32)
    before = causal_fir(**inputs, backend=backend)
    inputs["u"][..., 30:] = 1e6
    assert torch.equal(causal_fir(**inputs, backend=backend)[..., :30], before[..., :30])


def test_a_conv1d_weight_is_the_taps_reversed() -> None:
    convolution = torch.nn.Conv1d(6, 6, 3, groups=6, padding=2, dtype=torch.float64)
    u = torch.randn(2, 6, 30, dtype=torch.float64)
    taps = convolution.weight[:, 0].flip(-1)
    torch.testing.assert_close(causal_fir(u, taps, convolution.bias), convolution(u)[..., :30])


def test_half_input_with_fp32_taps_keeps_its_dtype() -> None:
    inputs = make_inputs((2, 3, 64, 3), torch.float32)
    u = inputs["u"].bfloat16()
    y = causal_fir(u, inputs["taps"], inputs["bias"])
    assert y.dtype is torch.bfloat16
    assert_close_to_reference(y, causal_fir(u.double(), inputs["taps"].double(), inputs["bias"].double()))


def test_torch_conv_leaves_mixed_precision_to_the_reference() -> None:
    u, taps = torch.zeros(1, 2, 5), torch.zeros(2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"torch_conv: input is torch.float32 and taps are torch.float64"):
        causal_fir(u, taps, backend="torch_conv")
    assert causal_fir(u, taps).dtype is torch.float32


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"it got \(2, 3, 10\) and \(4, 3\)"):
        causal_fir(torch.zeros(2, 3, 10), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"bias has shape \(2,\); expected \(3,\)"):
        causal_fir(torch.zeros(2, 3, 10), torch.zeros(3, 3), torch.zeros(2))
