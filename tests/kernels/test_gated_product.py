from functools import partial
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from genomix_kernels.dispatch import choose
from genomix_kernels.gated_product import Activation, gated_product
from genomix_kernels.gated_product.reference import gated_product_reference
from genomix_kernels.testing import assert_close_to_reference, check_against_reference

pytest.importorskip("triton")

ACTIVATIONS = get_args(Activation)
SHAPES = [(1,), (3, 2), (2, 63, 5), (1, 1023), (2, 1024), (3, 1, 1025)]
LARGE = [(4096, 11264), (2, 1000, 5120), (3, 2047)]


def make_inputs(shape: tuple[int, ...], dtype: torch.dtype, device: str = "cpu") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    gate, value = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
    return {"gate": 2 * gate, "value": value}


def check(shape: tuple[int, ...], dtype: torch.dtype, device: str, activation: Activation) -> None:
    from genomix_kernels.gated_product.triton_backend import gated_product_triton

    check_against_reference(
        partial(gated_product_triton, activation=activation),
        partial(gated_product_reference, activation=activation),
        make_inputs(shape, dtype, device),
        dtype=dtype,
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_triton_output_and_gradients(
    shape: tuple[int, ...], dtype: torch.dtype, triton_device: str, activation: Activation
) -> None:
    check(shape, dtype, triton_device, activation)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES + LARGE, ids=str)
def test_triton_at_large_sizes(shape: tuple[int, ...], dtype: torch.dtype, activation: Activation) -> None:
    check(shape, dtype, "cuda", activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_reference_rounds_once(dtype: torch.dtype, device: str, activation: Activation) -> None:
    reference = partial(gated_product, activation=activation, backend="reference")
    check_against_reference(reference, reference, make_inputs((40, 96), dtype, device), dtype=dtype)


def test_it_is_the_equation() -> None:
    gate, value = make_inputs((7, 12), torch.float64).values()
    expected = gate * torch.special.ndtr(gate) * value
    assert_close_to_reference(gated_product(gate, value, activation="gelu"), expected)
    assert torch.equal(gated_product(gate, value, activation="identity"), gate * value)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradcheck(activation: Activation) -> None:
    inputs = [tensor.requires_grad_() for tensor in make_inputs((2, 3, 7), torch.float64).values()]
    assert torch.autograd.gradcheck(
        lambda gate, value: gated_product(gate, value, activation=activation), inputs
    )


@pytest.mark.parametrize("rows", ["halves", "transposed", "half-and-whole"])
def test_strides_are_free(rows: str, triton_device: str) -> None:
    from genomix_kernels.gated_product.triton_backend import gated_product_triton

    joint = make_inputs((2, 5, 2 * 24), torch.float32, triton_device)["gate"].requires_grad_()
    gate, value = joint.chunk(2, dim=-1)
    if rows == "transposed":
        gate, value = gate.transpose(1, 2), value.transpose(1, 2)
    if rows == "half-and-whole":
        value = value.contiguous()
    results = []
    for function in (gated_product_triton, gated_product_reference):
        y = function(gate, value, activation="gelu")
        results.append((y, *torch.autograd.grad(y.sum(), joint, retain_graph=True)))
    for ours, theirs in zip(*results, strict=True):
        assert_close_to_reference(ours, theirs)


def test_halves_of_a_projection_are_not_copied() -> None:
    from genomix_kernels.gated_product.triton_backend import _as_rows

    joint = torch.zeros(2, 5, 48)
    row_len, (gate, value) = _as_rows(*joint.chunk(2, dim=-1))
    assert row_len == 24
    assert gate.stride() == value.stride() == (48, 1)
    assert value.data_ptr() == joint.data_ptr() + 24 * joint.element_size()


def test_far_from_zero_the_gate_is_open_or_closed(triton_device: str) -> None:
    from genomix_kernels.gated_product.triton_backend import gated_product_triton

    gate = torch.tensor([-1e4, -50.0, 0.0, 50.0, 1e4], device=triton_device, requires_grad=True)
    y = gated_product_triton(gate, torch.ones_like(gate), activation="gelu")
    torch.autograd.backward(y.sum())
    assert torch.equal(y, F.gelu(gate))
    assert gate.grad is not None
    assert gate.grad.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_triton_says_why_not() -> None:
    inputs = make_inputs((2, 4), torch.float32)
    assert choose("gated_product", "auto", *inputs.values(), activation="gelu").name == "reference"
    with pytest.raises(ValueError, match="triton: the tensors are on the CPU"):
        gated_product(**inputs, activation="gelu", backend="triton")


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"gate has \(2, 4\), value has \(4,\)"):
        gated_product(torch.zeros(2, 4), torch.zeros(4), activation="gelu")
    with pytest.raises(ValueError, match="activation is 'silu'; it must be 'gelu' or 'identity'"):
        gated_product(torch.zeros(2), torch.zeros(2), activation="silu")  # type: ignore[arg-type]
