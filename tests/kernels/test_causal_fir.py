"""Causal filters with taps: the equation, every gradient at awkward sizes, gates, tails, and what does not fit."""

from functools import partial

import pytest
import torch
from torch import Tensor

from genomix_kernels.causal_fir import TapOrder, causal_fir, causal_fir_extend
from genomix_kernels.dispatch import choose
from genomix_kernels.testing import assert_close_to_reference, check_against_reference
from tests.kernels.causal_fir_cases import (
    ARGUMENTS,
    BACKENDS,
    CASES,
    MISSHAPEN,
    ORDERS,
    SIZES,
    Size,
    check_strides,
    direct_sum,
    fir,
    fir_extend,
    make_inputs,
    skip_unless_served,
)


@pytest.mark.parametrize("tap_order", ORDERS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "size", [Size(1, 1, 1, 1, 1), Size(1, 2, 1, 3, 2), Size(2, 6, 2, 7, 3), Size(3, 4, 40, 20, 1)], ids=str
)
def test_it_is_the_sum_of_the_equation(backend: str, size: Size, tap_order: TapOrder) -> None:
    inputs = make_inputs(size, torch.float64, arguments="all")
    skip_unless_served(backend, **inputs)
    y = fir(**inputs, tap_order=tap_order, backend=backend)
    assert_close_to_reference(y, direct_sum(**inputs, tap_order=tap_order))


@pytest.mark.parametrize("n_taps", [17, 64, 65, 127, 128, 129, 200])
@pytest.mark.parametrize("seqlen", [1, 63, 64, 65, 127, 300])
def test_blocks_give_the_same_sum(seqlen: int, n_taps: int) -> None:
    for n_groups in (1, 2, 3, 6):
        inputs = make_inputs(Size(2, 6, seqlen, n_taps, n_groups), torch.float64)
        expected = fir(**inputs, backend="reference")
        assert_close_to_reference(fir(**inputs, backend="torch_blocked"), expected)
        assert_close_to_reference(fir(**inputs, backend="torch_conv"), expected)


@pytest.mark.parametrize(("backend", "dtype", "tap_order"), CASES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_output_and_gradients_against_the_reference(
    backend: str, dtype: torch.dtype, size: Size, tap_order: TapOrder, device: str
) -> None:
    inputs = make_inputs(size, dtype, device, arguments="all")
    skip_unless_served(backend, **inputs)
    kernel, reference = (
        partial(causal_fir, tap_order=tap_order, backend=name) for name in (backend, "reference")
    )
    check_against_reference(kernel, reference, inputs, dtype=dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("filter_len", [3, 20])
def test_each_argument_alone(backend: str, arguments: str, filter_len: int, device: str) -> None:
    dtype = torch.bfloat16 if backend == "triton" else torch.float64
    inputs = make_inputs(Size(3, 5, 130, filter_len, 5), dtype, device, arguments=arguments)
    skip_unless_served(backend, **inputs)
    kernel, reference = (partial(causal_fir, backend=name) for name in (backend, "reference"))
    check_against_reference(kernel, reference, inputs, dtype=dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("filter_len", [3, 20])
def test_strides_are_free(backend: str, filter_len: int, device: str) -> None:
    dtype = torch.float32 if backend == "triton" else torch.float64
    skip_unless_served(backend, **make_inputs(Size(1, 5, 2, filter_len, 5), dtype, device))
    check_strides(partial(causal_fir, backend=backend), filter_len, dtype, device)


@pytest.mark.parametrize("tap_order", ORDERS)
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "triton"])
def test_gradcheck(backend: str, tap_order: TapOrder) -> None:
    filter_len = 18 if backend == "torch_blocked" else 4
    inputs = make_inputs(Size(2, 3, 5, filter_len, 3), torch.float64, arguments="all")
    tail = torch.randn(2, 3, filter_len - 1, dtype=torch.float64)
    tensors = [tensor.requires_grad_() for tensor in (*inputs.values(), tail)]

    def call(
        u: Tensor, taps: Tensor, bias: Tensor, skip: Tensor, pre: Tensor, post: Tensor, tail: Tensor
    ) -> tuple[Tensor, Tensor]:
        return causal_fir_extend(
            u, taps, tail, bias, skip=skip, pre_gate=pre, post_gate=post, tap_order=tap_order, backend=backend
        )

    assert torch.autograd.gradcheck(call, tensors)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("filter_len", [1, 3, 7, 20, 128, 129])
def test_a_tail_continues(backend: str, filter_len: int, dtype: torch.dtype, device: str) -> None:
    inputs = make_inputs(Size(3, 5, 300, filter_len, 5), dtype, device, arguments="all")
    skip_unless_served(backend, **inputs)
    u, pre_gate, post_gate = (inputs.pop(name) for name in ("u", "pre_gate", "post_gate"))
    precise = {name: tensor.double() for name, tensor in inputs.items()}
    gates = {"pre_gate": pre_gate.double(), "post_gate": post_gate.double()}
    expected = fir(u.double(), **precise, **gates, backend="reference")
    tail = u.new_zeros(3, 5, filter_len - 1)
    pieces = []
    for piece in zip(
        *(torch.split(x, [1, 2, 60, 64, 1, 172], dim=-1) for x in (u, pre_gate, post_gate)), strict=True
    ):
        given = tail.clone()
        y, after = fir_extend(
            piece[0], **inputs, tail=tail, pre_gate=piece[1], post_gate=piece[2], backend=backend
        )
        assert torch.equal(tail, given)
        tail = after
        pieces.append(y)
    assert_close_to_reference(torch.cat(pieces, dim=-1), expected)
    assert torch.equal(tail, (u * pre_gate)[..., 300 - (filter_len - 1) :])


def test_a_tail_is_memory_of_its_own() -> None:
    u = torch.randn(1, 2, 50)
    _, tail = causal_fir_extend(u, torch.randn(2, 4), torch.zeros(1, 2, 3))
    expected = u[..., -3:].clone()
    u.zero_()
    assert torch.equal(tail, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("filter_len", [7, 19])
def test_a_later_input_changes_nothing_earlier(backend: str, filter_len: int, device: str) -> None:
    inputs = make_inputs(Size(1, 4, 150, filter_len, 4), torch.float32, device)
    skip_unless_served(backend, **inputs)
    before = fir(**inputs, backend=backend)
    inputs["u"][..., 70:] = 1e6
    after = fir(**inputs, backend=backend)
    assert torch.equal(after[..., :70], before[..., :70])
    assert not torch.equal(after, before)


def test_a_conv1d_weight_is_the_taps_in_cross_correlation() -> None:
    convolution = torch.nn.Conv1d(6, 6, 3, groups=6, padding=2, dtype=torch.float64)
    u = torch.randn(2, 6, 30, dtype=torch.float64)
    y = causal_fir(u, convolution.weight[:, 0], convolution.bias, tap_order="cross_correlation")
    torch.testing.assert_close(y, convolution(u)[..., :30])
    assert torch.equal(causal_fir(u, convolution.weight[:, 0].flip(-1), convolution.bias), y)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_input_with_fp32_parameters_keeps_its_dtype(dtype: torch.dtype, device: str) -> None:
    inputs = make_inputs(Size(2, 3, 64, 3, 3), torch.float32, device, arguments="all")
    mixed = {name: x.to(dtype) if x.ndim == 3 else x for name, x in inputs.items()}
    y = fir(**mixed)
    assert y.dtype is dtype
    exact = {name: x.double() for name, x in mixed.items()}
    assert_close_to_reference(y, fir(**exact, backend="reference"))


def test_torch_conv_leaves_mixed_precision_to_the_reference() -> None:
    u, taps = torch.zeros(1, 2, 5), torch.zeros(2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"torch_conv: input is torch.float32 and taps are torch.float64"):
        causal_fir(u, taps, backend="torch_conv")
    assert causal_fir(u, taps).dtype is torch.float32


def test_backends_say_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from genomix_kernels.causal_fir import triton_backend

    u, taps = torch.zeros(1, 2, 5), torch.zeros(2, 3)
    assert choose("causal_fir", "auto", u, taps).name == "torch_conv"
    with pytest.raises(ValueError, match="triton: the tensors are on the CPU"):
        causal_fir(u, taps, backend="triton")
    with pytest.raises(ValueError, match="torch_blocked: 3 taps are too few for matrix products to pay"):
        causal_fir(u, taps, backend="torch_blocked")
    with pytest.raises(ValueError, match="torch_conv: PyTorch's CPU convolution does not sum fp16 in fp32"):
        causal_fir(u.half(), taps, backend="torch_conv")

    pytest.importorskip("triton")
    monkeypatch.setattr(triton_backend, "why_not_triton", lambda *_: None)
    assert triton_backend.why_not(u, taps) is None
    assert triton_backend.why_not(u, torch.zeros(2, 257)) == "257 taps are more than 256"
    assert triton_backend.why_not(u, taps, pre_gate=u.double()) == "gates and input differ in dtype"
    tail = torch.zeros(1, 2, 2)
    assert triton_backend.why_not(u, taps, tail=tail) is None
    reason = "gradients behind a tail are not taken"
    assert triton_backend.why_not(u, taps.requires_grad_(), tail=tail) == reason
    with torch.no_grad():
        assert triton_backend.why_not(u, taps, tail=tail) is None


@pytest.mark.parametrize(("changes", "message"), MISSHAPEN, ids=str)
def test_shapes_that_do_not_fit_are_named(changes: dict[str, tuple[int, ...]], message: str) -> None:
    inputs = make_inputs(Size(2, 3, 10, 4, 3), torch.float32, arguments="all")
    inputs |= {name: torch.zeros(shape) for name, shape in changes.items()}
    with pytest.raises(ValueError, match=message):
        fir(**inputs)
    with pytest.raises(ValueError, match=message):
        fir_extend(**inputs, tail=torch.zeros(2, 3, 3))


def test_a_tail_that_does_not_fit_is_named() -> None:
    inputs = make_inputs(Size(2, 3, 10, 4, 3), torch.float32)
    with pytest.raises(ValueError, match=r"tail has shape \(2, 3, 4\); expected \(2, 3, 3\): the last K - 1"):
        fir_extend(**inputs, tail=torch.zeros(2, 3, 4))
