from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose
from genomix_kernels.rotary import rotary, rotary_tables
from genomix_kernels.rotary.reference import rotary_reference
from genomix_kernels.testing import assert_close_to_reference, check_against_reference

pytest.importorskip("triton")

SHAPES = [(1, 1, 1, 2), (2, 5, 3, 6), (3, 1, 4, 16), (1, 63, 2, 30), (2, 9, 5, 64)]
LARGE = [(1, 4096, 32, 128), (2, 1000, 15, 128), (2, 100, 33, 256), (1, 50, 1, 512)]


def make_inputs(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: str = "cpu", *, tables: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    batch, seqlen, n_heads, d = shape
    generator = torch.Generator().manual_seed(3)
    qkv = torch.randn(batch, seqlen, n_heads, 3, d, generator=generator).to(device, dtype)
    positions = torch.arange(seqlen, device=device) + 7 * torch.arange(tables, device=device)[:, None]
    inv_freq = 1e4 ** -(torch.arange(0, d, 2, device=device) / d)
    return qkv, *rotary_tables(positions, inv_freq, position_scale=2.0, dtype=dtype)


def stacked(
    function: Callable[..., tuple[Tensor, Tensor, Tensor]], cos: Tensor, sin: Tensor
) -> Callable[..., Tensor]:
    def run(qkv: Tensor) -> Tensor:
        return torch.stack(function(qkv, cos.to(qkv.dtype), sin.to(qkv.dtype)))

    return run


def check(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str, *, tables: int) -> None:
    from genomix_kernels.rotary.triton_backend import rotary_triton

    qkv, cos, sin = make_inputs(shape, dtype, device, tables=tables)
    check_against_reference(
        stacked(rotary_triton, cos, sin), stacked(rotary_reference, cos, sin), {"qkv": qkv}, dtype=dtype
    )


@pytest.mark.parametrize("one_table", [True, False], ids=["one-table", "table-a-sequence"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_triton_output_and_gradients(
    shape: tuple[int, int, int, int], dtype: torch.dtype, triton_device: str, one_table: bool
) -> None:
    check(shape, dtype, triton_device, tables=1 if one_table else shape[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES + LARGE, ids=str)
def test_triton_at_large_sizes(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    check(shape, dtype, "cuda", tables=shape[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_reference_rounds_once(dtype: torch.dtype, device: str) -> None:
    qkv, cos, sin = make_inputs((2, 20, 3, 16), dtype, device)
    reference = stacked(partial(rotary, backend="reference"), cos, sin)
    check_against_reference(reference, reference, {"qkv": qkv}, dtype=dtype)


def test_pairs_turn_as_complex_numbers_do() -> None:
    qkv, _, _ = make_inputs((2, 9, 3, 8), torch.float64)
    inv_freq = torch.tensor([1.0, 0.3, 0.01, 2.0], dtype=torch.float64)
    positions = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12, 13], [0, 0, 0, 1, 2, 3, 4, 5, 6]])
    q, k, v = rotary(qkv, *rotary_tables(positions, inv_freq, position_scale=4.0, dtype=torch.float64))
    turn = torch.polar(torch.ones(2, 9, 4, dtype=torch.float64), positions[..., None] / 4 * inv_freq)
    for stream, turned in ((0, q), (1, k)):
        pairs = torch.complex(*qkv[:, :, :, stream].chunk(2, dim=-1)) * turn[:, :, None]
        assert_close_to_reference(turned.transpose(1, 2), torch.cat([pairs.real, pairs.imag], dim=-1))
    assert torch.equal(v.transpose(1, 2), qkv[:, :, :, 2])


def test_tables_are_computed_in_fp32_and_then_rounded() -> None:
    positions, inv_freq = torch.tensor([[0, 1, 1_000_003]]), torch.tensor([1.0, 1e-3])
    exact = (positions[..., None].float() * inv_freq).cos()
    cos, sin = rotary_tables(positions, inv_freq, dtype=torch.bfloat16)
    assert torch.equal(cos, exact.bfloat16())
    assert sin.dtype is torch.bfloat16


@pytest.mark.parametrize("layout", ["row-stride", "last-axis-strided"])
def test_strides_are_free(layout: str, triton_device: str) -> None:
    from genomix_kernels.rotary.triton_backend import rotary_triton

    qkv, cos, sin = make_inputs((2, 5, 3, 8), torch.float32, triton_device)
    wide = torch.zeros(2, 5, 3, 3, 16, device=triton_device)
    strided = wide[..., :8] if layout == "row-stride" else wide[..., ::2]
    strided.copy_(qkv)
    strided.requires_grad_()
    results = []
    for function in (rotary_triton, rotary_reference):
        q, k, v = function(strided, cos, sin)
        weighed = (q * k).sum() + v.transpose(1, 2).flatten(2).square().sum()  # gradients of unlike strides
        results.append((q, k, v, *torch.autograd.grad(weighed, strided)))
    for ours, theirs in zip(*results, strict=True):
        assert_close_to_reference(ours, theirs)


def test_heads_join_without_a_copy(triton_device: str) -> None:
    from genomix_kernels.rotary.triton_backend import rotary_triton

    for stream in rotary_triton(*make_inputs((2, 5, 3, 8), torch.float32, triton_device)):
        assert stream.shape == (2, 3, 5, 8)
        assert stream.transpose(1, 2).is_contiguous()


def test_triton_says_why_not() -> None:
    inputs = make_inputs((2, 5, 3, 8), torch.float32)
    assert choose("rotary", "auto", *inputs).name == "reference"
    with pytest.raises(ValueError, match="triton: the tensors are on the CPU"):
        rotary(*inputs, backend="triton")


def test_shapes_that_do_not_fit_are_named() -> None:
    qkv, cos, sin = make_inputs((2, 5, 3, 8), torch.float32)
    with pytest.raises(ValueError, match=r"it got \(2, 5, 3, 3, 8\), \(1, 4, 4\) and \(1, 5, 4\)"):
        rotary(qkv, cos[:, :4], sin)
