"""Causal filters with taps: the equation, every gradient at awkward sizes, gates, tails, and what does not fit."""

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple, get_args

import pytest
import torch
from torch import Tensor

from genomix_kernels.causal_fir import TapOrder, causal_fir, causal_fir_extend
from genomix_kernels.dispatch import choose, implementations
from genomix_kernels.testing import assert_close_to_reference, check_against_reference

BACKENDS = [implementation.name for implementation in implementations("causal_fir")]
ORDERS: tuple[TapOrder, ...] = get_args(TapOrder)

# of any arguments: those of a table come as a dictionary
fir: Callable[..., Tensor] = causal_fir
fir_extend: Callable[..., tuple[Tensor, Tensor]] = causal_fir_extend


class Size(NamedTuple):
    batch: int
    channels: int
    seqlen: int
    filter_len: int
    groups: int

    def __str__(self) -> str:
        return f"B{self.batch}-D{self.channels}-L{self.seqlen}-K{self.filter_len}-G{self.groups}"


SIZES = [
    Size(1, 1, 1, 1, 1),
    Size(3, 3, 1, 129, 3),
    Size(1, 15, 2, 7, 3),
    Size(3, 5, 63, 1, 5),
    Size(1, 15, 63, 128, 5),
    Size(3, 5, 64, 3, 5),
    Size(1, 15, 64, 129, 3),
    Size(1, 15, 65, 7, 3),
    Size(3, 15, 65, 128, 1),
    Size(1, 15, 127, 3, 5),
    Size(1, 15, 127, 129, 3),
    # where kernels change: 8 lags, blocks of 64 lags, more channels in a group than rows in a tile
    Size(1, 9, 130, 9, 3),
    Size(1, 9, 130, 10, 3),
    Size(1, 9, 130, 65, 1),
    Size(1, 9, 200, 66, 3),
    Size(1, 9, 300, 193, 3),
    Size(1, 9, 300, 256, 1),
    Size(1, 67, 70, 17, 1),
    Size(3, 5, 1000, 7, 5),
    Size(1, 15, 1000, 128, 3),
    Size(1, 9, 8192, 7, 3),
    Size(1, 15, 8192, 128, 3),
    Size(1, 9, 8193, 3, 1),
    Size(1, 15, 8193, 129, 3),
]
INTERPRETED = [
    (size, dtype, order)
    for size, dtype, order in zip(SIZES, cycle([torch.float32, torch.float16]), cycle(reversed(ORDERS)))
    if size.seqlen <= 300
]

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "bias": ("bias",),
    "skip": ("skip",),
    "pre_gate": ("pre_gate",),
    "post_gate": ("post_gate",),
    "all": ("bias", "skip", "pre_gate", "post_gate"),
}


@pytest.fixture
def interpreter() -> None:
    """Skip where Triton compiles: there the same functions are tested on the device."""
    triton = pytest.importorskip("triton")
    interpreted = pytest.importorskip("triton.runtime.interpreter").InterpretedFunction
    if not isinstance(triton.language.sum, interpreted):
        pytest.skip("Triton was imported without TRITON_INTERPRET=1")


def make_inputs(
    size: Size, dtype: torch.dtype, device: str = "cpu", *, arguments: str = "bias"
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(size.seqlen + size.filter_len)
    batch, channels, seqlen, filter_len, groups = size
    signal = (batch, channels, seqlen)
    shapes: dict[str, tuple[int, ...]] = {
        "u": signal,
        "taps": (groups, filter_len),
        "bias": (channels,),
        "skip": (channels,),
        "pre_gate": signal,
        "post_gate": signal,
    }
    made = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    chosen = ("u", "taps", *ARGUMENTS[arguments])
    return {name: made[name].to(device, dtype) for name in chosen}


def skip_unless_served(backend: str, **arguments: Any) -> None:
    """Skip, with the backend's own reason, what it says that it cannot serve."""
    chosen = next(each for each in implementations("causal_fir") if each.name == backend)
    names = ("u", "taps", "bias", "skip", "pre_gate", "post_gate", "tap_order", "tail")
    defaults = {"tap_order": "convolution"}
    reason = chosen.supports(*(arguments.get(name, defaults.get(name)) for name in names))
    if reason is not None:
        pytest.skip(f"{backend}: {reason}")


def direct_sum(
    u: Tensor,
    taps: Tensor,
    bias: Tensor,
    skip: Tensor,
    pre_gate: Tensor,
    post_gate: Tensor,
    tap_order: TapOrder,
) -> Tensor:
    h = (taps if tap_order == "convolution" else taps.flip(-1)).repeat_interleave(u.shape[1] // len(taps), 0)
    m = pre_gate * u
    y = bias[:, None] + skip[:, None] * m
    for t in range(u.shape[-1]):
        for i in range(min(t + 1, h.shape[-1])):
            y[..., t] += h[:, i] * m[..., t - i]
    return post_gate * y


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


CASES = [
    ("reference", torch.bfloat16, ORDERS[1]),
    ("torch_conv", torch.float64, ORDERS[0]),
    ("torch_conv", torch.float32, ORDERS[1]),
    ("torch_conv", torch.bfloat16, ORDERS[0]),
    ("torch_blocked", torch.float64, ORDERS[1]),
    ("torch_blocked", torch.bfloat16, ORDERS[0]),
    ("triton", torch.float32, ORDERS[0]),
    ("triton", torch.bfloat16, ORDERS[1]),
    ("triton", torch.float16, ORDERS[0]),
]


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


def check_strides(kernel: Any, filter_len: int, dtype: torch.dtype, device: str) -> None:
    """Views of larger tensors, features last, expanded, and a gradient with the features last."""
    inputs = make_inputs(Size(3, 5, 70, filter_len, 5), dtype, device, arguments="all")

    def of_views(function: Any, u: Tensor, pre_gate: Tensor, post_gate: Tensor, **rest: Tensor) -> Tensor:
        u = u.transpose(1, 2).contiguous().transpose(1, 2)
        pre_gate = torch.stack([pre_gate, pre_gate], dim=2)[:, :, 1]
        post_gate = torch.nn.functional.pad(post_gate, (3, 5))[..., 3:-5][:1].expand(3, -1, -1)
        y: Tensor = function(u, **rest, pre_gate=pre_gate, post_gate=post_gate)
        return y.transpose(1, 2).contiguous()

    reference = partial(causal_fir, backend="reference")
    check_against_reference(partial(of_views, kernel), partial(of_views, reference), inputs, dtype=dtype)


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


MISSHAPEN: list[tuple[dict[str, tuple[int, ...]], str]] = [
    ({"taps": (4, 3)}, r"it got \(2, 3, 10\) and \(4, 3\)"),
    ({"taps": (3, 0)}, r"it got \(2, 3, 10\) and \(3, 0\)"),
    ({"taps": (3,)}, r"it got \(2, 3, 10\) and \(3,\)"),
    ({"u": (3, 10)}, r"it got \(3, 10\) and \(3, 4\)"),
    ({"bias": (2,)}, r"bias has shape \(2,\); expected \(3,\)"),
    ({"skip": (3, 1)}, r"skip has shape \(3, 1\); expected \(3,\)"),
    ({"pre_gate": (2, 3, 9)}, r"pre_gate has shape \(2, 3, 9\); expected \(2, 3, 10\)"),
    ({"post_gate": (1, 3, 10)}, r"post_gate has shape \(1, 3, 10\); expected \(2, 3, 10\)"),
]


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
