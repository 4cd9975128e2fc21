"""Convolution with sums of exponentials: the recurrence, in chunks, with every gradient, continued from states."""

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import implementations
from genomix_kernels.modal_conv import modal_conv
from genomix_kernels.modal_conv.reference import modal_conv_reference
from genomix_kernels.testing import assert_close_to_reference, check_against_reference

LONG = torch.zeros(1, 1, 1000), torch.zeros(1, 1), torch.zeros(1, 1), None, None
EVERY = [implementation.name for implementation in implementations("modal_conv")]
BACKENDS = [
    implementation.name
    for implementation in implementations("modal_conv")
    if implementation.supports(*LONG) is None
]
"""Those that take any length; a backend for single steps has a test of its own."""

FAST = [name for name in BACKENDS if name != "reference"]
LENGTHS = [1, 2, 63, 64, 65, 127, 1000]
POLES = {"slow": 1e-6, "initial": 2e-2, "mixed": None, "fast": 5.0}
N_MODES = 4


def make_inputs(seqlen: int, poles: float | None, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seqlen)
    magnitude = (
        torch.full((3, N_MODES), poles) if poles else torch.logspace(-6, 0.7, 3 * N_MODES).reshape(3, N_MODES)
    )
    inputs = {
        "u": torch.randn(2, 3, seqlen, generator=generator).to(dtype),
        "log_poles": -magnitude * (1 + 0.1 * torch.rand(3, N_MODES, generator=generator)),
        "residues": torch.randn(3, N_MODES, generator=generator),
        "skip": torch.randn(3, generator=generator),
        "state": torch.randn(2, 3, N_MODES, generator=generator),
    }
    precise = torch.promote_types(dtype, torch.float32)
    return {name: (x if name == "u" else x.to(precise)).to(device) for name, x in inputs.items()}


def test_the_reference_is_the_convolution_of_the_equation() -> None:
    inputs = make_inputs(50, None, torch.float64, "cpu")
    u, a, residues = inputs["u"], inputs["log_poles"], inputs["residues"]
    h = (residues[..., None] * torch.exp(a[..., None] * torch.arange(50))).sum(1)
    expected = torch.stack([(u[..., : t + 1] * h[:, : t + 1].flip(-1)).sum(-1) for t in range(50)], dim=-1)
    y, state = modal_conv_reference(u, a, residues)
    torch.testing.assert_close(y, expected)
    weights = torch.exp(a[..., None] * torch.arange(49, -1, -1))
    torch.testing.assert_close(state, torch.einsum("bdt,dnt->bdn", u, weights))


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("poles", POLES)
@pytest.mark.parametrize("seqlen", LENGTHS)
def test_output_and_gradients_against_the_reference(
    backend: str, poles: str, seqlen: int, device: str
) -> None:
    inputs = make_inputs(seqlen, POLES[poles], torch.float64, device)

    def both(y: Tensor, state: Tensor) -> Tensor:
        return torch.cat([y, state], dim=-1)

    def kernel(state: Tensor, **inputs: Tensor) -> Tensor:
        return both(*modal_conv(**inputs, state=state, backend=backend))

    def reference(**inputs: Tensor) -> Tensor:
        return both(*modal_conv_reference(**inputs))

    check_against_reference(kernel, reference, inputs, dtype=torch.float64)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("poles", POLES)
@pytest.mark.parametrize("seqlen", [1, 65, 1000])
def test_precision(backend: str, dtype: torch.dtype, poles: str, seqlen: int, device: str) -> None:
    inputs = make_inputs(seqlen, POLES[poles], dtype, device)
    y, state = modal_conv(**inputs, backend=backend)
    expected_y, expected_state = modal_conv_reference(*(x.double() for x in inputs.values()))
    assert y.dtype is dtype
    assert state.dtype is torch.float32
    assert_close_to_reference(y, expected_y)
    assert_close_to_reference(state, expected_state, name="state")


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_one_step(backend: str, dtype: torch.dtype, device: str) -> None:
    inputs = make_inputs(1, None, dtype, device)
    y, state = modal_conv(**inputs, backend=backend)
    expected_y, expected_state = modal_conv_reference(*(x.double() for x in inputs.values()))
    assert_close_to_reference(y, expected_y)
    assert_close_to_reference(state, expected_state, name="state")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cut", [1, 63, 64, 100])
def test_a_state_continues_exactly(backend: str, cut: int, device: str) -> None:
    inputs = make_inputs(200, None, torch.float64, device)
    u, a, residues, skip, start = inputs.values()
    whole, final = modal_conv(u, a, residues, skip, state=start, backend=backend)
    first, state = modal_conv(u[..., :cut], a, residues, skip, state=start, backend=backend)
    second, end = modal_conv(u[..., cut:], a, residues, skip, state=state, backend=backend)
    assert_close_to_reference(torch.cat([first, second], dim=-1), whole)
    assert_close_to_reference(end, final)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck(backend: str) -> None:
    inputs = make_inputs(5, 0.3, torch.float64, "cpu")
    tensors = [x.requires_grad_() for x in inputs.values()]

    def call(u: Tensor, a: Tensor, residues: Tensor, skip: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return modal_conv(u, a, residues, skip, state=state, backend=backend)

    assert torch.autograd.gradcheck(call, tensors)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_later_input_changes_nothing_earlier(backend: str) -> None:
    inputs = make_inputs(150, None, torch.float32, "cpu")
    before, _ = modal_conv(**inputs, backend=backend)
    inputs["u"][..., 90:] = 1e6
    assert torch.equal(modal_conv(**inputs, backend=backend)[0][..., :90], before[..., :90])


@pytest.mark.parametrize("backend", BACKENDS)
def test_skip_and_state_are_optional_and_strides_are_free(backend: str) -> None:
    inputs = make_inputs(70, None, torch.float64, "cpu")
    u = inputs["u"].transpose(1, 2).contiguous().transpose(1, 2)
    y, _ = modal_conv(u, inputs["log_poles"], inputs["residues"], backend=backend)
    full, _ = modal_conv(
        inputs["u"], inputs["log_poles"], inputs["residues"], inputs["skip"], backend=backend
    )
    assert_close_to_reference(y + inputs["skip"][:, None] * u, full)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("u", (2, 3), r"u \(B, D, L >= 1\)"),
        ("u", (2, 4, 10), "channels differ: u has 4, log_poles has 3"),
        ("residues", (3, 5), "of one shape"),
        ("skip", (4,), r"skip has shape \(4,\); expected \(3,\)"),
        ("state", (1, 3, N_MODES), r"state has shape \(1, 3, 4\); expected \(2, 3, 4\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(name: str, shape: tuple[int, ...], message: str) -> None:
    inputs = make_inputs(10, None, torch.float32, "cpu") | {name: torch.zeros(shape)}
    u, a, residues, skip, state = inputs.values()
    with pytest.raises(ValueError, match=message):
        modal_conv(u, a, residues, skip, state=state)
