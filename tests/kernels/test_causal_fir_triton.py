"""`causal_fir` in Triton: in its interpreter on a CPU, compiled on a GPU."""

from functools import partial

import pytest
import torch

from genomix_kernels.causal_fir import TapOrder, causal_fir
from genomix_kernels.testing import assert_close_to_reference, check_against_reference
from tests.kernels.causal_fir_cases import (
    ARGUMENTS,
    INTERPRETED,
    ORDERS,
    Size,
    check_strides,
    fir,
    make_inputs,
)


@pytest.fixture
def interpreter() -> None:
    """Skip where Triton compiles: there the same functions are tested on the device."""
    triton = pytest.importorskip("triton")
    interpreted = pytest.importorskip("triton.runtime.interpreter").InterpretedFunction
    if not isinstance(triton.language.sum, interpreted):
        pytest.skip("Triton was imported without TRITON_INTERPRET=1")


@pytest.mark.usefixtures("interpreter")
class TestInterpretedTriton:
    def check(self, size: Size, dtype: torch.dtype, arguments: str, tap_order: TapOrder) -> None:
        from genomix_kernels.causal_fir.triton_backend import causal_fir_triton

        check_against_reference(
            partial(causal_fir_triton, tap_order=tap_order),
            partial(causal_fir, tap_order=tap_order, backend="reference"),
            make_inputs(size, dtype, arguments=arguments),
            dtype=dtype,
        )

    @pytest.mark.parametrize(("size", "dtype", "tap_order"), INTERPRETED, ids=str)
    def test_output_and_gradients(self, size: Size, dtype: torch.dtype, tap_order: TapOrder) -> None:
        self.check(size, dtype, "all", tap_order)

    @pytest.mark.parametrize("arguments", ARGUMENTS)
    @pytest.mark.parametrize("filter_len", [3, 20])
    def test_each_argument_alone(self, arguments: str, filter_len: int) -> None:
        self.check(Size(1, 3, 70, filter_len, 3), torch.float16, arguments, ORDERS[0])

    @pytest.mark.parametrize("filter_len", [1, 3, 9, 10, 65, 129])
    def test_a_tail_continues(self, filter_len: int) -> None:
        from genomix_kernels.causal_fir.triton_backend import causal_fir_triton

        inputs = make_inputs(Size(1, 3, 90, filter_len, 3), torch.float16, arguments="all")
        expected = fir(**{name: x.double() for name, x in inputs.items()}, backend="reference")
        u, taps, bias, skip, pre, post = inputs.values()
        joined = torch.cat([torch.zeros(1, 3, filter_len - 1, dtype=u.dtype), u * pre], dim=-1)
        pieces = []
        for start, end in ((0, 1), (1, 4), (4, 70), (70, 90)):
            at = slice(start, end)
            tail = joined[..., start : start + filter_len - 1]
            pieces.append(
                causal_fir_triton(u[..., at], taps, bias, skip, pre[..., at], post[..., at], tail=tail)
            )
        assert_close_to_reference(torch.cat(pieces, dim=-1), expected)

    @pytest.mark.parametrize("filter_len", [3, 20])
    def test_strides_are_free(self, filter_len: int) -> None:
        from genomix_kernels.causal_fir.triton_backend import causal_fir_triton

        check_strides(partial(causal_fir_triton), filter_len, torch.float32, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
class TestOnTheGpu:
    @pytest.mark.parametrize("filter_len", [3, 128])
    def test_more_elements_than_an_int_counts(self, filter_len: int) -> None:
        """The last channel stands behind 2^31 elements, of which float64 is taken alone."""
        size = Size(3, 87, (1 << 23) + 8, filter_len, 87)
        assert size.batch * size.channels * size.seqlen > 1 << 31
        signal = (size.batch, size.channels, size.seqlen)
        u = torch.randn(signal, device="cuda", dtype=torch.bfloat16).requires_grad_()
        taps = torch.randn(size.groups, filter_len, device="cuda", requires_grad=True)
        y = causal_fir(u, taps, backend="triton")
        dy = torch.randn_like(y)
        torch.autograd.backward(y, dy)
        assert u.grad is not None
        assert taps.grad is not None

        # of all rows: the taps' gradient is summed over the batch
        last = u.detach()[:, -1:].double().requires_grad_()
        h = taps.detach()[-1:].double().requires_grad_()
        exact = "torch_blocked" if filter_len > 17 else "reference"
        expected = causal_fir(last, h, backend=exact)
        torch.autograd.backward(expected, dy[:, -1:].double())
        assert last.grad is not None
        assert h.grad is not None
        assert_close_to_reference(y[:, -1:], expected)
        assert_close_to_reference(u.grad[:, -1:], last.grad, name="gradient of u")
        assert_close_to_reference(taps.grad[-1:], h.grad, dtype=torch.bfloat16, name="gradient of taps")

    @pytest.mark.parametrize("filter_len", [3, 7, 128, 256])
    def test_few_channels_and_a_long_sequence(self, filter_len: int) -> None:
        inputs = make_inputs(Size(1, 3, 300_001, filter_len, 3), torch.bfloat16, "cuda", arguments="all")
        exact = "torch_blocked" if filter_len > 17 else "reference"
        kernel, reference = (partial(causal_fir, backend=name) for name in ("triton", exact))
        check_against_reference(kernel, reference, inputs, dtype=torch.bfloat16)

    @pytest.mark.parametrize("filter_len", [3, 128])
    @pytest.mark.parametrize("seqlen", [65, 8193])
    def test_a_row_is_the_same_alone_and_in_a_batch(self, filter_len: int, seqlen: int) -> None:
        inputs = make_inputs(Size(33, 15, seqlen, filter_len, 5), torch.bfloat16, "cuda")
        u = inputs.pop("u")
        together = fir(u, **inputs, backend="triton")
        for row in (0, 32):
            assert torch.equal(fir(u[row : row + 1], **inputs, backend="triton"), together[row : row + 1])
