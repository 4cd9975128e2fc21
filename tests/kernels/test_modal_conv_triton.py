"""`modal_conv` in Triton: in its interpreter on a CPU, compiled on a GPU."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose
from genomix_kernels.modal_conv import modal_conv
from genomix_kernels.testing import assert_close_to_reference, check_against_reference
from tests.kernels.modal_conv_cases import (
    CHANNELS,
    DTYPES,
    LONG_LENGTHS,
    POLES,
    check,
    check_on_gpu,
    check_pieces,
    check_strides,
    make_inputs,
    share_rows,
)


@pytest.fixture
def interpreter() -> None:
    """Skip where Triton compiles: there the same functions are tested on the device."""
    triton = pytest.importorskip("triton")
    interpreted = pytest.importorskip("triton.runtime.interpreter").InterpretedFunction
    if not isinstance(triton.language.sum, interpreted):
        pytest.skip("Triton was imported without TRITON_INTERPRET=1")


@pytest.fixture
def small_tiles(interpreter: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tiles of 64, 128 or 256 tokens of those of thousands, so that short sequences have several."""
    from genomix_kernels.hyena_gated import modal_launch

    monkeypatch.setattr(modal_launch, "CHUNK", 16)
    monkeypatch.setattr(modal_launch, "ROWS", 4)
    monkeypatch.setattr(modal_launch, "STATES_TILE", 64)
    monkeypatch.setattr(modal_launch, "SHORT", 0)


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

    @pytest.mark.parametrize("seqlen", [63, 70])
    def test_modes_that_grow(self, seqlen: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Within the sequence all is finite; over a whole tile of 4096 tokens these modes would not be."""
        from genomix_kernels.hyena_gated import modal_launch
        from genomix_kernels.modal_conv.triton_backend import modal_conv_triton

        monkeypatch.setattr(modal_launch, "CHUNK", 64)
        monkeypatch.setattr(modal_launch, "ROWS", 64)
        inputs = make_inputs(seqlen, -0.05, torch.float32, "cpu", batch=1, channels=3, has_gates=True)
        check(modal_conv_triton, inputs)

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
