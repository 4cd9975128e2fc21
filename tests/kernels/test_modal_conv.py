"""Convolution with sums of exponentials: the recurrence, in chunks, with every gradient, continued from states."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose
from genomix_kernels.modal_conv import modal_conv
from genomix_kernels.testing import assert_close_to_reference, check_against_reference
from tests.kernels.modal_conv_cases import (
    BACKENDS,
    CHANNELS,
    DTYPES,
    EVERY,
    LENGTHS,
    N_MODES,
    POLES,
    SERVED,
    TORCH,
    both,
    check,
    check_on_gpu,
    check_pieces,
    check_strides,
    make_inputs,
    skip_unless_served,
)


def test_the_reference_is_the_convolution_of_the_equation() -> None:
    inputs = make_inputs(50, None, torch.float64, "cpu", has_gates=True)
    u, a, residues, skip, _, pre, post = inputs.values()
    h = (residues[..., None] * torch.exp(a[..., None] * torch.arange(50))).sum(1)
    m = pre * u
    sums = torch.stack([(m[..., : t + 1] * h[:, : t + 1].flip(-1)).sum(-1) for t in range(50)], dim=-1)
    y, state = modal_conv(u, a, residues, skip, pre_gate=pre, post_gate=post, backend="reference")
    torch.testing.assert_close(y, post * (sums + skip[:, None] * m))
    weights = torch.exp(a[..., None] * torch.arange(49, -1, -1))
    torch.testing.assert_close(state, torch.einsum("bdt,dnt->bdn", m, weights))


@pytest.mark.parametrize(("backend", "dtype", "has_gates"), SERVED, ids=str)
@pytest.mark.parametrize("poles", POLES)
@pytest.mark.parametrize("seqlen", LENGTHS)
def test_output_and_gradients_against_the_reference(
    backend: str, dtype: torch.dtype, has_gates: bool, poles: str, seqlen: int, device: str
) -> None:
    # channels enough for a parameter's gradient to be more than a sum that happens to cancel
    channels = CHANNELS if backend == "triton" else 3
    inputs = make_inputs(seqlen, POLES[poles], dtype, device, channels=channels, has_gates=has_gates)
    skip_unless_served(backend, **inputs)
    if backend == "triton":
        check_on_gpu(inputs)
    else:
        check(partial(modal_conv, backend=backend), inputs)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("poles", POLES)
@pytest.mark.parametrize("seqlen", [1, 65, 1000])
def test_precision_of_chunks(dtype: torch.dtype, poles: str, seqlen: int, device: str) -> None:
    inputs = make_inputs(seqlen, POLES[poles], dtype, device)
    y, state = modal_conv(**inputs, backend="torch_chunked")
    assert y.dtype is dtype
    assert state.dtype is torch.float32
    exact = {name: x.double() for name, x in inputs.items()}
    _, expected_state = modal_conv(**exact, backend="reference")
    assert_close_to_reference(state, expected_state, name="state")
    check(partial(modal_conv, backend="torch_chunked"), inputs)


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_one_step(backend: str, dtype: torch.dtype, device: str) -> None:
    inputs = make_inputs(1, None, dtype, device, has_gates=True)
    skip_unless_served(backend, **inputs)
    y, state = modal_conv(**inputs, backend=backend)
    exact = {name: x.double() for name, x in inputs.items()}
    expected_y, expected_state = modal_conv(**exact, backend="reference")
    assert_close_to_reference(y, expected_y)
    assert_close_to_reference(state, expected_state, dtype=dtype, name="state")


def test_a_single_token_takes_one_step() -> None:
    inputs = make_inputs(1, None, torch.float32, "cpu")
    assert choose("modal_conv", "auto", *inputs.values()).name == "torch_step"
    with pytest.raises(ValueError, match="torch_step: 2 tokens are more than one step"):
        modal_conv(torch.zeros(1, 3, 2), inputs["log_poles"], inputs["residues"], backend="torch_step")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [[1, 199], [63, 137], [64, 136], [1, 2, 97, 1, 99]], ids=str)
def test_a_state_continues(backend: str, lengths: list[int], device: str) -> None:
    dtype = torch.float32 if backend == "triton" else torch.float64
    inputs = make_inputs(200, None, dtype, device, has_gates=True)
    skip_unless_served(backend, **inputs)
    exact = {name: x.double() for name, x in inputs.items()}
    expected, expected_state = modal_conv(**exact, backend="reference")
    check_pieces(partial(modal_conv, backend=backend), inputs, lengths, expected, expected_state)


@pytest.mark.parametrize("backend", TORCH)
def test_gradcheck(backend: str) -> None:
    inputs = make_inputs(5, 0.3, torch.float64, "cpu", batch=2, has_gates=True)
    tensors = [x.requires_grad_() for x in inputs.values()]

    def call(
        u: Tensor, a: Tensor, residues: Tensor, skip: Tensor, state: Tensor, pre: Tensor, post: Tensor
    ) -> tuple[Tensor, Tensor]:
        return modal_conv(u, a, residues, skip, state=state, pre_gate=pre, post_gate=post, backend=backend)

    assert torch.autograd.gradcheck(call, tensors)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_later_input_changes_nothing_earlier(backend: str, device: str) -> None:
    inputs = make_inputs(150, None, torch.float32, device)
    skip_unless_served(backend, **inputs)
    before, _ = modal_conv(**inputs, backend=backend)
    inputs["u"][..., 90:] = 1e6
    after, _ = modal_conv(**inputs, backend=backend)
    assert torch.equal(after[..., :90], before[..., :90])
    assert not torch.equal(after, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_strides_are_free(backend: str, device: str) -> None:
    dtype = torch.float16 if backend == "triton" else torch.float64
    skip_unless_served(backend, **make_inputs(2, None, dtype, device))
    check_strides(partial(modal_conv, backend=backend), dtype, device)


@pytest.mark.parametrize("backend", BACKENDS)
def test_skip_state_and_gates_are_optional(backend: str, device: str) -> None:
    dtype = torch.float16 if backend == "triton" else torch.float64
    inputs = make_inputs(70, None, dtype, device, has_gates=True)
    skip_unless_served(backend, **inputs)
    for name in ("skip", "state", "pre_gate", "post_gate"):
        check(partial(modal_conv, backend=backend), {key: x for key, x in inputs.items() if key != name})


class TestComplexPoles:
    """StripedHyena 1's filters, ``Re sum_n R_n exp(a_n t)``: only plain torch serves them."""

    @staticmethod
    def make(seqlen: int, magnitude: float) -> dict[str, Tensor]:
        """Return the inputs with real and imaginary parts apart, so that a comparison can take them in float64."""
        generator = torch.Generator().manual_seed(seqlen)
        inputs = make_inputs(seqlen, magnitude, torch.float64, "cpu", batch=2, has_gates=True)
        imaginary = {
            f"{name}_imag": torch.randn(inputs[name].shape, generator=generator, dtype=torch.float64)
            for name in ("log_poles", "residues", "state")
        }
        return inputs | imaginary

    @staticmethod
    def call(
        backend: str,
        log_poles: Tensor,
        residues: Tensor,
        state: Tensor,
        log_poles_imag: Tensor,
        residues_imag: Tensor,
        state_imag: Tensor,
        **rest: Tensor,
    ) -> tuple[Tensor, Tensor]:
        return modal_conv(
            log_poles=torch.complex(log_poles, log_poles_imag),
            residues=torch.complex(residues, residues_imag),
            state=torch.complex(state, state_imag),
            **rest,
            backend=backend,
        )

    def test_it_is_the_real_part_of_the_sum(self) -> None:
        inputs = self.make(30, 0.1)
        a = torch.complex(inputs["log_poles"], inputs["log_poles_imag"])
        residues = torch.complex(inputs["residues"], inputs["residues_imag"])
        h = (residues[..., None] * torch.exp(a[..., None] * torch.arange(30))).sum(1).real
        u = inputs["u"]
        expected = [(u[..., : t + 1] * h[:, : t + 1].flip(-1)).sum(-1) for t in range(30)]
        y, state = modal_conv(u, a, residues, backend="reference")
        torch.testing.assert_close(y, torch.stack(expected, dim=-1))
        assert state.dtype is torch.complex128

    @pytest.mark.parametrize("magnitude", [1e-6, 0.1, 5.0])
    @pytest.mark.parametrize("seqlen", [1, 63, 64, 65, 200])
    def test_output_and_gradients_against_the_reference(self, seqlen: int, magnitude: float) -> None:
        chunked, reference = (both(partial(self.call, name)) for name in TORCH)
        check_against_reference(chunked, reference, self.make(seqlen, magnitude), dtype=torch.float64)

    @pytest.mark.parametrize("backend", TORCH)
    def test_gradcheck(self, backend: str) -> None:
        inputs = {name: x.requires_grad_() for name, x in self.make(4, 0.3).items()}

        def call(*tensors: Tensor) -> tuple[Tensor, Tensor]:
            return self.call(backend, **dict(zip(inputs, tensors, strict=True)))

        assert torch.autograd.gradcheck(call, list(inputs.values()))

    @pytest.mark.parametrize("backend", TORCH)
    def test_a_state_continues(self, backend: str) -> None:
        inputs = self.make(150, 0.1)
        complex_inputs = {
            name: torch.complex(inputs[name], inputs.pop(f"{name}_imag"))
            for name in ("log_poles", "residues", "state")
        }
        inputs |= complex_inputs
        expected, expected_state = modal_conv(**inputs, backend="reference")
        rest = dict(inputs)
        state = rest.pop("state")
        signals = {
            name: torch.split(rest.pop(name), [1, 63, 70, 16], -1) for name in ("u", "pre_gate", "post_gate")
        }
        pieces = []
        for i in range(4):
            part = {name: parts[i] for name, parts in signals.items()}
            y, state = modal_conv(**part, **rest, state=state, backend=backend)
            pieces.append(y)
        torch.testing.assert_close(torch.cat(pieces, dim=-1), expected)
        torch.testing.assert_close(state, expected_state)

    def test_half_input_keeps_its_dtype(self) -> None:
        a = torch.full((3, 2), -0.1 + 1j)
        for backend in TORCH:
            y, state = modal_conv(torch.ones(1, 3, 70, dtype=torch.bfloat16), a, a, backend=backend)
            assert y.dtype is torch.bfloat16
            assert state.dtype is torch.complex64


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("u", (2, 3), r"u \(B, D, L >= 1\)"),
        ("u", (2, 3, 0), r"it got \(2, 3, 0\)"),
        ("u", (2, 4, 10), "channels differ: u has 4, log_poles has 3"),
        ("log_poles", (3,), r"it got \(2, 3, 10\), \(3,\) and \(3, 4\)"),
        ("residues", (3, 5), "of one shape"),
        ("skip", (4,), r"skip has shape \(4,\); expected \(3,\)"),
        ("state", (1, 3, N_MODES), r"state has shape \(1, 3, 4\); expected \(2, 3, 4\)"),
        ("pre_gate", (2, 3, 9), r"pre_gate has shape \(2, 3, 9\); expected \(2, 3, 10\)"),
        ("post_gate", (2, 1, 10), r"post_gate has shape \(2, 1, 10\); expected \(2, 3, 10\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(name: str, shape: tuple[int, ...], message: str) -> None:
    inputs = make_inputs(10, None, torch.float32, "cpu", batch=2, has_gates=True) | {name: torch.zeros(shape)}
    call: Callable[..., object] = modal_conv
    with pytest.raises(ValueError, match=message):
        call(**inputs)
