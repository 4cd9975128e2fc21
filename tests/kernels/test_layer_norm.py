from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose
from genomix_kernels.layer_norm import add_layer_norm, layer_norm
from genomix_kernels.layer_norm.reference import add_layer_norm_reference, layer_norm_reference
from genomix_kernels.testing import (
    TOLERANCE,
    assert_close_to_reference,
    check_against_reference,
    relative_rms_error,
)

pytest.importorskip("triton")

SHAPES = [(4, 7), (3, 5), (1, 64), (2, 63, 16), (5, 100), (2, 3, 129), (70, 24)]
LARGE = [(8192, 256), (2, 1000, 1920), (300, 8192), (100_000, 128), (3, 4095)]


def make_inputs(shape: tuple[int, ...], dtype: torch.dtype, device: str = "cpu") -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    inputs = {name: torch.randn(shape, generator=generator) for name in ("x", "residual")}
    names = ("scale", "bias", "x_bias")
    inputs |= {name: torch.randn(shape[-1], generator=generator) for name in names}
    return {name: tensor.to(device, dtype) for name, tensor in inputs.items()}


def both(function: Callable[..., tuple[Tensor, Tensor]], **settings: object) -> Callable[..., Tensor]:
    """Both outputs as one tensor, so that a cotangent reaches each."""

    def run(**inputs: Tensor) -> Tensor:
        return torch.stack(function(**inputs, **settings))

    return run


def check(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
    from genomix_kernels.layer_norm.triton_backend import add_layer_norm_triton, layer_norm_triton

    inputs = make_inputs(shape, dtype, device)
    ours: dict[str, Any] = {"eps": 1e-5, "out_dtype": dtype}
    exact: dict[str, Any] = {"eps": 1e-5, "out_dtype": torch.float64}
    # the sum is rounded before it is normed: let it be exact
    summands = ("x", "residual", "x_bias")
    rounded = {name: (4 * tensor).round() if name in summands else tensor for name, tensor in inputs.items()}
    for _ in range(2):
        check_against_reference(
            both(add_layer_norm_triton, **ours), both(add_layer_norm_reference, **exact), rounded, dtype=dtype
        )
        rounded.pop("x_bias", None)
    del inputs["residual"], inputs["x_bias"]
    check_against_reference(
        partial(layer_norm_triton, **ours), partial(layer_norm_reference, **exact), inputs, dtype=dtype
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_triton_against_the_reference(shape: tuple[int, ...], dtype: torch.dtype, triton_device: str) -> None:
    check(shape, dtype, triton_device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_large_shapes(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    check(shape, dtype, "cuda")


def test_a_stream_in_fp32_and_a_branch_in_16_bits(triton_device: str) -> None:
    from genomix_kernels.layer_norm.triton_backend import add_layer_norm_triton

    inputs = make_inputs((33, 24), torch.float32, triton_device)
    inputs["x"] = inputs["x"].half()
    normed, s = add_layer_norm_triton(**inputs, eps=1e-5, out_dtype=torch.float16)
    assert (normed.dtype, s.dtype) == (torch.float16, torch.float32)
    exact = {name: tensor.double() for name, tensor in inputs.items()}
    expected, total = add_layer_norm_reference(**exact, eps=1e-5, out_dtype=torch.float64)
    assert_close_to_reference(normed, expected)
    assert_close_to_reference(s, total)


def test_the_gradient_of_a_branch_is_in_its_dtype(triton_device: str) -> None:
    from genomix_kernels.layer_norm.triton_backend import add_layer_norm_triton

    inputs = make_inputs((33, 24), torch.float32, triton_device)
    inputs["x"] = inputs["x"].half()
    for tensor in inputs.values():
        tensor.requires_grad_()
    normed, s = add_layer_norm_triton(**inputs, eps=1e-5, out_dtype=torch.float16)
    exact = {name: tensor.detach().double().requires_grad_() for name, tensor in inputs.items()}
    expected, total = add_layer_norm_reference(**exact, eps=1e-5, out_dtype=torch.float64)
    cotangents = torch.randn_like(normed), torch.randn_like(s)
    torch.autograd.backward((normed, s), cotangents)
    torch.autograd.backward((expected, total), [x.double() for x in cotangents])
    for name, tensor in inputs.items():
        assert tensor.grad is not None
        assert tensor.grad.dtype is tensor.dtype
        # the gradients are those of a norm read in 16 bits
        assert relative_rms_error(tensor.grad, exact[name].grad) < TOLERANCE[torch.float16], name


def test_the_sum_alone_is_differentiated(triton_device: str) -> None:
    from genomix_kernels.layer_norm.triton_backend import add_layer_norm_triton

    inputs = {k: x.requires_grad_() for k, x in make_inputs((3, 8), torch.float32, triton_device).items()}
    _, s = add_layer_norm_triton(**inputs, eps=1e-5, out_dtype=torch.float32)
    torch.autograd.backward(s.sum())
    assert torch.equal(inputs["x_bias"].grad, torch.full_like(inputs["x_bias"], 3.0))
    assert torch.equal(inputs["residual"].grad, torch.ones_like(s))
    assert inputs["scale"].grad is None


def test_the_reference_is_pytorch(device: str) -> None:
    inputs = make_inputs((4, 7, 16), torch.float64, device)
    norm = torch.nn.LayerNorm(16, eps=1e-3, device=device, dtype=torch.float64)
    norm.load_state_dict({"weight": inputs["scale"], "bias": inputs["bias"]})
    with torch.no_grad():
        assert torch.equal(
            layer_norm(inputs["x"], inputs["scale"], inputs["bias"], eps=1e-3), norm(inputs["x"])
        )
        normed, s = add_layer_norm(**inputs, eps=1e-3)
    assert torch.equal(s, inputs["x"] + inputs["x_bias"] + inputs["residual"])
    assert torch.equal(normed, norm(s).detach())


@pytest.mark.parametrize("name", ["scale", "bias"])
def test_shapes_that_do_not_fit(name: str) -> None:
    inputs: dict[str, Any] = make_inputs((4, 16), torch.float32)
    del inputs["residual"], inputs["x_bias"]
    inputs[name] = torch.zeros(15)
    with pytest.raises(ValueError, match=r"scale and bias \(D,\)"):
        layer_norm(**inputs, eps=1e-5)
    with pytest.raises(ValueError, match=r"residual has shape \(3, 16\)"):
        add_layer_norm(torch.zeros(4, 16), torch.zeros(3, 16), torch.ones(16), torch.zeros(16), eps=1e-5)


def test_a_cpu_takes_pytorch() -> None:
    x = torch.zeros(2, 4)
    chosen = choose("layer_norm", "auto", x, x[0], x[0], eps=1e-5, out_dtype=torch.float32)
    assert chosen.name == "reference"
