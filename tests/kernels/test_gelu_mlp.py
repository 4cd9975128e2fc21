"""The MLP between its two maps: output and every gradient against PyTorch's own, in the interpreter and on a GPU."""

from typing import Any

import pytest
import torch

from genomix_kernels.gelu_mlp import gelu_mlp
from genomix_kernels.gelu_mlp.reference import gelu_mlp_reference
from genomix_kernels.testing import check_against_reference

triton = pytest.importorskip("triton")
InterpretedFunction = pytest.importorskip("triton.runtime.interpreter").InterpretedFunction


def make_inputs(
    shape: tuple[int, ...], hidden: int, dtype: torch.dtype, device: str = "cpu"
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(5)
    d = shape[-1]
    inputs = {
        "x": torch.randn(shape, generator=generator),
        "weight_in": torch.randn(hidden, d, generator=generator) / d**0.5,
        "bias_in": torch.randn(hidden, generator=generator),
        "weight_out": torch.randn(d + 1, hidden, generator=generator) / hidden**0.5,
    }
    return {name: tensor.to(device, dtype) for name, tensor in inputs.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(("shape", "hidden"), [((1, 8), 32), ((2, 37, 16), 300), ((9, 5), 256)], ids=str)
def test_triton_against_the_reference(
    shape: tuple[int, ...], hidden: int, dtype: torch.dtype, device: str
) -> None:
    if device == "cpu" and not isinstance(triton.language.sum, InterpretedFunction):
        pytest.skip("Triton was imported without TRITON_INTERPRET=1")
    from genomix_kernels.gelu_mlp.triton_backend import gelu_mlp_triton

    inputs = make_inputs(shape, hidden, dtype, device)
    check_against_reference(gelu_mlp_triton, gelu_mlp_reference, inputs, dtype=dtype)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_many_rows(dtype: torch.dtype) -> None:
    from genomix_kernels.gelu_mlp.triton_backend import gelu_mlp_triton

    inputs = make_inputs((3, 20_001, 128), 512, dtype, "cuda")
    check_against_reference(gelu_mlp_triton, gelu_mlp_reference, inputs, dtype=dtype)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_autocast_and_the_same_bits_again() -> None:
    inputs = {
        name: x.requires_grad_() for name, x in make_inputs((4096, 64), 256, torch.float32, "cuda").items()
    }
    found = []
    for _ in range(2):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            y = gelu_mlp(**inputs)
        assert y.dtype is torch.bfloat16
        found.append(torch.autograd.grad(y.float().square().sum(), list(inputs.values())))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_shapes_that_do_not_fit() -> None:
    inputs = make_inputs((2, 8), 16, torch.float32)
    with pytest.raises(ValueError, match=r"it got \(2, 8\), \(16, 8\), \(15,\) and \(9, 16\)"):
        gelu_mlp(**inputs | {"bias_in": torch.zeros(15)})
