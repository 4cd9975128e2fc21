"""`modal_conv` in CUDA C++: the same source compiled for a CPU, and on a GPU."""

import pytest
import torch

from genomix_kernels.hyena_gated import modal_cuda
from genomix_kernels.modal_conv import modal_conv
from genomix_kernels.modal_conv.cuda_backend import modal_conv_cuda
from genomix_kernels.testing import assert_close_to_reference
from tests.kernels.conftest import Emulate
from tests.kernels.modal_conv_cases import POLES, check, check_pieces, make_inputs


@pytest.fixture
def on_cpu(emulate: Emulate) -> None:
    emulate(modal_cuda)


@pytest.mark.usefixtures("on_cpu")
class TestOnACpu:
    @pytest.mark.parametrize("has_gates", [False, True], ids=["plain", "gated"])
    @pytest.mark.parametrize(
        ("dtype", "seqlen"),
        [(torch.float16, 8), (torch.bfloat16, 1000), (torch.float16, 4104), (torch.float16, 8192)],
        ids=str,
    )
    def test_output_and_gradients(self, dtype: torch.dtype, seqlen: int, has_gates: bool) -> None:
        """A length that is a multiple of the tile takes the gradient of the final state in the kernel."""
        check(
            modal_conv_cuda, make_inputs(seqlen, None, dtype, "cpu", batch=1, channels=9, has_gates=has_gates)
        )

    @pytest.mark.parametrize("poles", ["slow", "fast"])
    def test_poles_at_the_extremes(self, poles: str) -> None:
        check(modal_conv_cuda, make_inputs(1000, POLES[poles], torch.float16, "cpu", batch=1, channels=9))

    @pytest.mark.parametrize("has_gates", [False, True], ids=["plain", "gated"])
    def test_modes_that_grow(self, has_gates: bool) -> None:
        """Within the sequence all is finite; over a whole tile of 4096 tokens these modes would not be."""
        inputs = make_inputs(72, -0.05, torch.float16, "cpu", batch=1, channels=9, has_gates=has_gates)
        check(modal_conv_cuda, inputs)

    @pytest.mark.parametrize("name", ["skip", "state"])
    def test_what_is_optional(self, name: str) -> None:
        inputs = make_inputs(136, None, torch.float16, "cpu", batch=1, channels=9)
        del inputs[name]
        check(modal_conv_cuda, inputs)

    def test_sixteen_modes(self) -> None:
        check(modal_conv_cuda, make_inputs(1000, None, torch.float16, "cpu", batch=1, channels=5, n_modes=16))

    def test_a_state_continues(self) -> None:
        inputs = make_inputs(4496, None, torch.float16, "cpu", batch=1, channels=3, has_gates=True)
        exact = {name: x.double() for name, x in inputs.items()}
        expected, expected_state = modal_conv(**exact, backend="reference")
        check_pieces(modal_conv_cuda, inputs, [8, 64, 4104, 320], expected, expected_state)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
class TestOnTheGpu:
    @pytest.mark.parametrize("has_gates", [False, True], ids=["plain", "gated"])
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    @pytest.mark.parametrize("poles", POLES)
    @pytest.mark.parametrize("seqlen", [8, 1000, 4096, 12_296])
    def test_output_and_gradients(self, seqlen: int, poles: str, dtype: torch.dtype, has_gates: bool) -> None:
        inputs = make_inputs(
            seqlen, POLES[poles], dtype, "cuda", batch=1, channels=256, n_modes=16, has_gates=has_gates
        )
        check(lambda **given: modal_conv(**given, backend="cuda"), inputs, exact="torch_chunked")

    def test_a_row_is_the_same_alone_and_in_a_batch(self) -> None:
        inputs = make_inputs(8200, None, torch.bfloat16, "cuda", batch=5, channels=256)
        u, a, residues, skip, state = inputs.values()
        y, after = modal_conv(u, a, residues, skip, state=state, backend="cuda")
        alone, end = modal_conv(u[4:], a, residues, skip, state=state[4:], backend="cuda")
        assert torch.equal(alone, y[4:])
        assert torch.equal(end, after[4:])

    def test_a_million_tokens_of_a_slow_mode(self) -> None:
        """What carries the state is decayed once a tile: rounding does not add up row by row."""
        inputs = make_inputs(1 << 20, 1e-6, torch.bfloat16, "cuda", batch=1, channels=256, n_modes=16)
        y, state = modal_conv(**inputs, backend="cuda")
        names = ("log_poles", "residues", "skip")
        last = {name: x[-1:].double() for name, x in inputs.items() if name in names}
        last |= {name: inputs[name][:, -1:].double() for name in ("u", "state")}
        expected, expected_state = modal_conv(**last, backend="torch_chunked")
        assert_close_to_reference(y[:, -1:], expected)
        assert_close_to_reference(state[:, -1:], expected_state, dtype=torch.bfloat16, name="state")
