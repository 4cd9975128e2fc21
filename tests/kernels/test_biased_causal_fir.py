"""A filter of inputs that lack their bias: against the filter of inputs that have it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from genomix_kernels.causal_fir import TapOrder
from genomix_kernels.causal_fir.biased import biased_causal_fir
from genomix_kernels.causal_fir.reference import causal_fir_reference
from genomix_kernels.testing import check_against_reference

triton = pytest.importorskip("triton")
InterpretedFunction = pytest.importorskip("triton.runtime.interpreter").InterpretedFunction


def make_inputs(
    batch: int, channels: int, seqlen: int, n_taps: int, dtype: torch.dtype, device: str
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seqlen)
    shapes = {
        "u": (batch, channels, seqlen),
        "input_bias": (channels,),
        "taps": (channels, n_taps),
        "bias": (channels,),
    }
    return {
        name: torch.randn(shape, generator=generator).to(device, dtype if name == "u" else torch.float32)
        for name, shape in shapes.items()
    }


def exact(u: Tensor, input_bias: Tensor, taps: Tensor, bias: Tensor, tap_order: TapOrder) -> Tensor:
    h = taps if tap_order == "convolution" else taps.flip(-1)
    return causal_fir_reference(u + input_bias[:, None], h, bias)


@pytest.mark.parametrize("tap_order", ["convolution", "cross_correlation"])
@pytest.mark.parametrize(
    ("batch", "channels", "seqlen", "n_taps"), [(2, 3, 1, 3), (1, 2, 2, 4), (2, 3, 70, 3), (1, 2, 40, 1)]
)
def test_triton_against_the_equation(
    batch: int, channels: int, seqlen: int, n_taps: int, tap_order: TapOrder, device: str
) -> None:
    if device == "cpu" and not isinstance(triton.language.sum, InterpretedFunction):
        pytest.skip("Triton was imported without TRITON_INTERPRET=1")
    from genomix_kernels.causal_fir.biased_triton import biased_causal_fir_triton

    inputs = make_inputs(batch, channels, seqlen, n_taps, torch.float32, device)
    check_against_reference(
        lambda **x: biased_causal_fir_triton(**x, tap_order=tap_order),
        lambda **x: exact(**x, tap_order=tap_order),
        inputs,
        dtype=torch.float32,
    )


def test_a_cpu_adds_the_bias_first() -> None:
    inputs = make_inputs(2, 3, 9, 3, torch.float64, "cpu")
    inputs = {name: x.double() for name, x in inputs.items()}
    y = biased_causal_fir(**inputs, tap_order="cross_correlation")
    torch.testing.assert_close(y, exact(**inputs, tap_order="cross_correlation"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_long_sequences(dtype: torch.dtype) -> None:
    inputs = make_inputs(2, 384, 20_000, 3, dtype, "cuda")
    check_against_reference(
        lambda **x: biased_causal_fir(**x, tap_order="cross_correlation", backend="triton"),
        lambda **x: exact(**x, tap_order="cross_correlation"),
        inputs,
        dtype=dtype,
    )


def test_shapes_that_do_not_fit() -> None:
    inputs = make_inputs(2, 3, 9, 3, torch.float32, "cpu")
    with pytest.raises(ValueError, match=r"it got \(2, 3, 9\), \(3, 3\), \(2,\) and \(3,\)"):
        biased_causal_fir(**inputs | {"input_bias": torch.zeros(2)})
