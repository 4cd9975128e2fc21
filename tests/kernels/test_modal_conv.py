"""Convolution with sums of exponentials: the recurrence, in chunks, with every gradient, continued from states."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose, implementations
from genomix_kernels.modal_conv import modal_conv
from genomix_kernels.testing import assert_close_to_reference, check_against_reference

EVERY = [implementation.name for implementation in implementations("modal_conv")]
BACKENDS = [name for name in EVERY if name != "torch_step"]
"""Those that take any length; the backend for single steps has a test of its own."""

TORCH = ["torch_chunked", "reference"]
FAST = [name for name in BACKENDS if name != "reference"]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
LENGTHS = [1, 2, 63, 64, 65, 127, 1000]
LONG_LENGTHS = [4095, 4096, 4097, 8192, 8193]
POLES = {"slow": 1e-6, "initial": 2e-2, "mixed": None, "fast": 5.0}
N_MODES = 4
CHANNELS = 35
ORDER = ("u", "log_poles", "residues", "skip", "state", "pre_gate", "post_gate")


@pytest.fixture
def interpreter() -> None:
    """Skip where Triton compiles: there the same functions are tested on the device."""
    triton = pytest.importorskip("triton")
    interpreted = pytest.importorskip("triton.runtime.interpreter").InterpretedFunction
    if not isinstance(triton.language.sum, interpreted):
        pytest.skip("Triton was imported without TRITON_INTERPRET=1")


def make_inputs(
    seqlen: int,
    poles: float | None,
    dtype: torch.dtype,
    device: str,
    *,
    batch: int = 3,
    channels: int = 3,
    n_modes: int = N_MODES,
    has_gates: bool = False,
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seqlen)
    shape = (channels, n_modes)
    magnitude = (
        torch.full(shape, poles) if poles else torch.logspace(-6, 0.7, channels * n_modes).reshape(shape)
    )
    signal = (batch, channels, seqlen)
    inputs = {
        "u": torch.randn(signal, generator=generator),
        "log_poles": -magnitude * (1 + 0.1 * torch.rand(shape, generator=generator)),
        "residues": torch.randn(shape, generator=generator),
        "skip": torch.randn(channels, generator=generator),
        "state": torch.randn(batch, *shape, generator=generator),
    }
    if has_gates:
        inputs |= {name: torch.randn(signal, generator=generator) for name in ("pre_gate", "post_gate")}
    precise = torch.promote_types(dtype, torch.float32)
    signals = ("u", "pre_gate", "post_gate")
    return {name: x.to(dtype if name in signals else precise).to(device) for name, x in inputs.items()}


def skip_unless_served(backend: str, **arguments: Any) -> None:
    """Skip, with the backend's own reason, what it says that it cannot serve."""
    chosen = next(each for each in implementations("modal_conv") if each.name == backend)
    reason = chosen.supports(*(arguments.get(name) for name in ORDER))
    if reason is not None:
        pytest.skip(f"{backend}: {reason}")


def both(
    function: Callable[..., tuple[Tensor, Tensor]], dtype: torch.dtype = torch.float64
) -> Callable[..., Tensor]:
    """Return a function of keywords that puts the final state behind the output, whose gradient has ``dtype``."""

    def joined(**inputs: Tensor) -> Tensor:
        y, state = function(**inputs)
        # the state makes both fp32 or more; kernel and reference are to get the same gradient of y
        y.register_hook(lambda gradient: gradient.to(dtype).to(gradient.dtype))  # type: ignore[no-untyped-call]
        if state.is_complex():
            state = torch.cat([state.real, state.imag], dim=-1)
        return torch.cat([y, state], dim=-1)

    return joined


def check(
    function: Callable[..., tuple[Tensor, Tensor]], inputs: dict[str, Tensor], exact: str = "reference"
) -> None:
    """Compare output, final state and every gradient, also those through the final state, with float64."""
    dtype = inputs["u"].dtype
    kernel, reference = both(function, dtype), both(partial(modal_conv, backend=exact), dtype)
    check_against_reference(kernel, reference, inputs, dtype=dtype)


def check_on_gpu(inputs: dict[str, Tensor], exact: str = "reference") -> None:
    """Compare the Triton backend; in fp32, whose gradients it leaves to others, output and state alone."""
    if inputs["u"].dtype is not torch.float32:
        check(partial(modal_conv, backend="triton"), inputs, exact)
        return
    y, state = modal_conv(**inputs, backend="triton")
    doubled = {name: x.double() for name, x in inputs.items()}
    expected, expected_state = modal_conv(**doubled, backend=exact)
    assert_close_to_reference(y, expected)
    assert_close_to_reference(state, expected_state, name="state")


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


SERVED = [
    ("torch_chunked", torch.float64, False),
    ("torch_chunked", torch.float64, True),
    ("triton", torch.float32, False),
    ("triton", torch.float32, True),
    ("triton", torch.bfloat16, True),
    ("triton", torch.float16, True),
]


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


def check_pieces(
    function: Callable[..., tuple[Tensor, Tensor]],
    inputs: dict[str, Tensor],
    lengths: list[int],
    expected: Tensor,
    expected_state: Tensor,
) -> None:
    rest = dict(inputs)
    state = rest.pop("state")
    signals = {name: torch.split(rest.pop(name), lengths, dim=-1) for name in ("u", "pre_gate", "post_gate")}
    pieces = []
    for i in range(len(lengths)):
        given = state.clone()
        y, after = function(**{name: parts[i] for name, parts in signals.items()}, **rest, state=state)
        assert torch.equal(state, given)
        state = after
        pieces.append(y)
    assert_close_to_reference(torch.cat(pieces, dim=-1), expected)
    assert_close_to_reference(state, expected_state, dtype=inputs["u"].dtype, name="state")


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


def check_strides(function: Callable[..., tuple[Tensor, Tensor]], dtype: torch.dtype, device: str) -> None:
    """Views of larger tensors, features last, expanded; gradients with the features last."""
    inputs = make_inputs(70, None, dtype, device, has_gates=True)

    def of_views(
        function: Callable[..., tuple[Tensor, Tensor]],
        u: Tensor,
        log_poles: Tensor,
        pre_gate: Tensor,
        post_gate: Tensor,
        **rest: Tensor,
    ) -> tuple[Tensor, Tensor]:
        u = u.transpose(1, 2).contiguous().transpose(1, 2)
        log_poles = log_poles.t().contiguous().t()
        pre_gate = torch.stack([pre_gate, pre_gate], dim=2)[:, :, 1]
        post_gate = torch.nn.functional.pad(post_gate, (3, 5))[..., 3:-5][:1].expand(3, -1, -1)
        y, state = function(u=u, log_poles=log_poles, pre_gate=pre_gate, post_gate=post_gate, **rest)
        return y.transpose(1, 2).contiguous().transpose(1, 2), state

    kernel, reference = (
        both(partial(of_views, each), dtype) for each in (function, partial(modal_conv, backend="reference"))
    )
    check_against_reference(kernel, reference, inputs, dtype=dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_strides_are_free(backend: str, device: str) -> None:
    dtype = torch.float32 if backend == "triton" else torch.float64
    skip_unless_served(backend, **make_inputs(2, None, dtype, device))
    check_strides(partial(modal_conv, backend=backend), dtype, device)


@pytest.mark.parametrize("backend", BACKENDS)
def test_skip_state_and_gates_are_optional(backend: str, device: str) -> None:
    dtype = torch.float32 if backend == "triton" else torch.float64
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


@pytest.fixture
def small_tiles(interpreter: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tiles of 64, 128 or 256 tokens of those of thousands, so that short sequences have several."""
    from genomix_kernels.hyena_gated import modal_launch

    monkeypatch.setattr(modal_launch, "CHUNK", 16)
    monkeypatch.setattr(modal_launch, "ROWS", 4)
    monkeypatch.setattr(modal_launch, "STATES_TILE", 64)
    monkeypatch.setattr(modal_launch, "SHORT", 0)


def share_rows(monkeypatch: pytest.MonkeyPatch, tiles: int | None) -> None:
    """Let a row be walked by as many programs as there are such numbers of tiles in it; by one if None."""
    from genomix_kernels.hyena_gated import modal_launch

    monkeypatch.setattr(modal_launch, "FEW_ROWS", 0 if tiles is None else 256)
    monkeypatch.setattr(modal_launch, "LEAST_TILES", tiles or 1)


@pytest.mark.usefixtures("small_tiles")
class TestInterpretedTriton:
    # batch, channels, seqlen, and the tiles of a program where several share a row
    GATED = (
        (1, 3, 1, None),
        (1, 3, 2, None),
        (3, 1, 63, None),
        (1, 3, 64, None),
        (1, 1, 65, None),
        (1, 1, 127, None),
        (1, 2, 300, None),
        (1, 2, 300, 1),
        (1, 1, 384, 1),
        (1, 1, 600, 2),
    )
    PLAIN = ((1, 3, 2, None), (3, 1, 63, None), (1, 2, 256, None), (1, 2, 300, 1), (1, 1, 1100, 2))

    @pytest.mark.parametrize("size", GATED, ids=str)
    def test_with_gates(
        self, size: tuple[int, int, int, int | None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whole tiles take the gradient through the final state in the kernel, others beside it."""
        self.check_size(monkeypatch, size, torch.float32, has_gates=True)

    @pytest.mark.parametrize("size", PLAIN, ids=str)
    def test_without_gates(
        self, size: tuple[int, int, int, int | None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.check_size(monkeypatch, size, torch.float16, has_gates=False)

    def test_gates_in_16_bits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Gated inputs and gradients are rounded: in the sums of a channel or two that would be all one sees."""
        self.check_size(monkeypatch, (1, 9, 130, 1), torch.float16, has_gates=True)

    def check_size(
        self,
        monkeypatch: pytest.MonkeyPatch,
        size: tuple[int, int, int, int | None],
        dtype: torch.dtype,
        *,
        has_gates: bool,
    ) -> None:
        from genomix_kernels.modal_conv.triton_backend import modal_conv_triton

        batch, channels, seqlen, tiles = size
        share_rows(monkeypatch, tiles)
        inputs = make_inputs(seqlen, None, dtype, "cpu", batch=batch, channels=channels, has_gates=has_gates)
        check(modal_conv_triton, inputs)

    @pytest.mark.parametrize("name", ["skip", "state", "pre_gate", "post_gate"])
    def test_what_is_optional(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from genomix_kernels.modal_conv.triton_backend import modal_conv_triton

        share_rows(monkeypatch, 1)
        inputs = make_inputs(140, None, torch.float32, "cpu", batch=1, channels=3, has_gates=True)
        del inputs[name]
        check(modal_conv_triton, inputs)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
    @pytest.mark.parametrize("poles", ["slow", "fast"])
    def test_poles_at_the_extremes(
        self, poles: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from genomix_kernels.modal_conv.triton_backend import modal_conv_triton

        share_rows(monkeypatch, 1)
        check(modal_conv_triton, make_inputs(130, POLES[poles], dtype, "cpu", batch=1))

    @pytest.mark.parametrize("n_modes", [1, 17])
    def test_numbers_of_modes(self, n_modes: int) -> None:
        from genomix_kernels.modal_conv.triton_backend import modal_conv_triton

        inputs = make_inputs(
            70, None, torch.float32, "cpu", batch=1, channels=3, n_modes=n_modes, has_gates=True
        )
        check(modal_conv_triton, inputs)

    @pytest.mark.parametrize(("of", "seqlen"), [("y", 255), ("state", 50), ("state", 255), ("state", 256)])
    def test_gradients_of_the_output_or_the_final_state_alone(
        self, of: str, seqlen: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from genomix_kernels.modal_conv.triton_backend import modal_conv_triton

        share_rows(monkeypatch, 1)
        # of gates and skip the final state knows nothing: with them it has no gradient, without them a zero
        names = (
            ("u", "log_poles", "residues", "state", "pre_gate") if of == "y" else ("u", "log_poles", "state")
        )
        inputs = make_inputs(seqlen, None, torch.float32, "cpu", batch=1, channels=2, has_gates=True)
        residues = inputs["residues"]
        inputs = {name: inputs[name] for name in names}
        index = 0 if of == "y" else 1

        def one(function: Callable[..., tuple[Tensor, Tensor]], **given: Tensor) -> Tensor:
            weights = given.pop("residues", residues.to(given["u"].dtype))
            return function(**given, residues=weights)[index]

        kernel, reference = (
            partial(one, each) for each in (modal_conv_triton, partial(modal_conv, backend="reference"))
        )
        check_against_reference(kernel, reference, inputs, dtype=torch.float32)

    def test_a_state_continues(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from genomix_kernels.modal_conv.triton_backend import modal_conv_triton

        share_rows(monkeypatch, 1)
        inputs = make_inputs(330, None, torch.float16, "cpu", batch=1, channels=2, has_gates=True)
        exact = {name: x.double() for name, x in inputs.items()}
        expected, expected_state = modal_conv(**exact, backend="reference")
        lengths = [1, 63, 64, 2, 192, 8]
        check_pieces(modal_conv_triton, inputs, lengths, expected, expected_state)

    def test_strides_are_free(self) -> None:
        from genomix_kernels.modal_conv.triton_backend import modal_conv_triton

        check_strides(modal_conv_triton, torch.float32, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
class TestOnTheGpu:
    @pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
    @pytest.mark.parametrize("poles", POLES)
    @pytest.mark.parametrize("seqlen", LONG_LENGTHS)
    def test_long_sequences(self, seqlen: int, poles: str, dtype: torch.dtype) -> None:
        inputs = make_inputs(
            seqlen, POLES[poles], dtype, "cuda", channels=CHANNELS, n_modes=16, has_gates=True
        )
        check_on_gpu(inputs, exact="torch_chunked")

    @pytest.mark.parametrize("dtype", DTYPES[2:], ids=str)
    @pytest.mark.parametrize("seqlen", [65_536, 300_001])
    def test_few_channels_and_a_long_sequence(self, seqlen: int, dtype: torch.dtype) -> None:
        """Programs share a row."""
        inputs = make_inputs(seqlen, None, dtype, "cuda", batch=1, channels=15, n_modes=16, has_gates=True)
        check_on_gpu(inputs, exact="torch_chunked")

    def test_more_elements_than_an_int_counts(self) -> None:
        """The last channel stands behind 2^31 elements, of which float64 is taken alone."""
        batch, channels, seqlen, n_modes = 3, 87, (1 << 23) + 8, 16
        assert batch * channels * seqlen > 1 << 31
        u = torch.randn(batch, channels, seqlen, device="cuda", dtype=torch.bfloat16).requires_grad_()
        parameters = make_inputs(1, None, torch.float32, "cuda", channels=channels, n_modes=n_modes)
        names = ("log_poles", "residues", "skip")
        leaves = {name: parameters[name].requires_grad_() for name in names}
        y, state = modal_conv(u, **leaves, backend="triton")
        dy = torch.randn_like(y)
        torch.autograd.backward(y, dy)

        last = {name: leaves[name].detach()[-1:].double().requires_grad_() for name in names}
        of_last = u.detach()[:, -1:].double().requires_grad_()
        expected, expected_state = modal_conv(of_last, **last, backend="torch_chunked")
        torch.autograd.backward(expected, dy[:, -1:].double())
        assert_close_to_reference(y[:, -1:], expected)
        assert_close_to_reference(state[:, -1:], expected_state, dtype=torch.bfloat16, name="state")
        pairs = {"u": (u, of_last), **{name: (leaves[name], last[name]) for name in names}}
        for name, (ours, theirs) in pairs.items():
            assert ours.grad is not None
            assert theirs.grad is not None
            found = ours.grad[:, -1:] if name == "u" else ours.grad[-1:]
            assert_close_to_reference(found, theirs.grad, dtype=torch.bfloat16, name=f"gradient of {name}")

    @pytest.mark.parametrize("seqlen", [65, 8193])
    def test_a_row_is_the_same_alone_and_in_a_batch(self, seqlen: int) -> None:
        inputs = make_inputs(seqlen, None, torch.bfloat16, "cuda", batch=33)
        u, a, residues, skip, state = inputs.values()
        y, after = modal_conv(u, a, residues, skip, state=state, backend="triton")
        for row in (0, 32):
            at = slice(row, row + 1)
            alone, end = modal_conv(u[at], a, residues, skip, state=state[at], backend="triton")
            assert torch.equal(alone, y[at])
            assert torch.equal(end, after[at])


def test_triton_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from genomix_kernels.modal_conv import triton_backend

    u, a = torch.zeros(1, 3, 5), -torch.ones(3, 4)
    assert choose("modal_conv", "auto", u, a, a).name == "torch_chunked"
    with pytest.raises(ValueError, match="triton: the tensors are on the CPU"):
        modal_conv(u, a, a, backend="triton")
    with pytest.raises(ValueError, match="triton: the poles are complex"):
        modal_conv(u, a.to(torch.complex64), a.to(torch.complex64), backend="triton")

    monkeypatch.setattr(triton_backend, "why_not_triton", lambda *_: None)
    assert triton_backend.why_not(u, a, a) is None
    assert "gradients of fp32 inputs" in (triton_backend.why_not(u.clone().requires_grad_(), a, a) or "")
    assert triton_backend.why_not(u, a.double(), a) == "poles and residues are not in fp32"
    assert triton_backend.why_not(u, a, a.bfloat16()) == "poles and residues are not in fp32"
    many = torch.zeros(3, 65)
    assert triton_backend.why_not(u, many, many) == "65 modes are more than 64"
    assert triton_backend.why_not(u, a, a, post_gate=u.half()) == "gates and input differ in dtype"


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
