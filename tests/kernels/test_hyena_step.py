"""One token of the gated Hyena operator: several in a row are the whole sequence, and the state is where they meet."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose
from genomix_kernels.hyena_gated.filters import HyenaState, Modes, TapOrder, Taps
from genomix_kernels.hyena_gated.reference import hyena_gated_reference
from genomix_kernels.hyena_step import hyena_step
from genomix_kernels.testing import assert_close_to_reference

pytest.importorskip("triton")
from genomix_kernels.hyena_step.triton_kernels import hyena_step_triton

Step = Callable[[Tensor, Taps, Taps | Modes, HyenaState, bool], Tensor]
STEPS = 4


def through_the_face(
    p: Tensor, featurizer: Taps, inner: Taps | Modes, state: HyenaState, is_interleaved: bool, backend: str
) -> Tensor:
    return hyena_step(p, featurizer, inner, state, is_interleaved=is_interleaved, backend=backend)


REFERENCE: Step = partial(through_the_face, backend="reference")
AUTO: Step = partial(through_the_face, backend="auto")


class Inputs:
    """Projections of a few tokens, filters and a state that is not empty, from one seed."""

    def __init__(
        self,
        batch: int,
        channels: int,
        kind: str,
        size: int,
        *,
        group: int = 15,
        order: TapOrder = "convolution",
        has_skip: bool = True,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        generator = torch.Generator().manual_seed(channels + size)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        def put(tensor: Tensor, dtype: torch.dtype = dtype) -> Tensor:
            return tensor.to(dtype).to(device)

        precise = torch.promote_types(dtype, torch.float32)
        self.p = put(random(batch, 3 * channels, STEPS))
        self.featurizer = Taps(put(random(3 * channels, 3)), None, "cross_correlation")
        skip = put(random(channels)) if has_skip else None
        self.inner: Taps | Modes
        if kind == "taps":
            self.inner = Taps(put(random(channels // group, size) * size**-0.5), skip, order)
            tail = put(random(batch, channels, size - 1))
        else:
            poles = -torch.logspace(-4, 0.5, channels * size, dtype=torch.float64).reshape(channels, size)
            self.inner = Modes(
                put(poles, precise), put(random(channels, size), precise), skip, kind == "rounded"
            )
            tail = put(random(batch, channels, size), precise)
        self.state = HyenaState(put(random(batch, 3 * channels, 2)), tail)

    def expected(self, is_interleaved: bool) -> tuple[Tensor, HyenaState]:
        """Return the reference over the whole sequence in float64."""
        skip = None if self.inner.skip is None else self.inner.skip.double()
        inner: Taps | Modes
        if isinstance(self.inner, Taps):
            inner = Taps(self.inner.h.double(), skip, self.inner.order)
        else:
            # what is rounded before the skip is rounded to the activations' dtype, and that is float64 here
            inner = Modes(self.inner.log_poles.double(), self.inner.residues.double(), skip)
        featurizer = self.featurizer._replace(h=self.featurizer.h.double())
        state = HyenaState(*(x.double() for x in self.state))
        return hyena_gated_reference(self.p.double(), featurizer, inner, is_interleaved, state)

    def check(self, step: Step, is_interleaved: bool) -> None:
        """Feed the tokens one by one; outputs and the state that is left are those of the sequence."""
        expected, after = self.expected(is_interleaved)
        outputs = [
            step(self.p[..., t], self.featurizer, self.inner, self.state, is_interleaved)
            for t in range(STEPS)
        ]
        assert all(y.dtype is self.p.dtype for y in outputs)
        dtype = self.p.dtype
        # a state in fp32 of inputs that were rounded is no more exact than these
        assert_close_to_reference(torch.stack(outputs, dim=-1), expected, dtype=dtype)
        assert_close_to_reference(self.state.featurizer, after.featurizer, name="featurizer tail")
        assert_close_to_reference(self.state.inner, after.inner, dtype=dtype, name="inner state")


@pytest.mark.parametrize("step", [REFERENCE, hyena_step_triton], ids=["reference", "triton-interpreted"])
@pytest.mark.parametrize("is_interleaved", [True, False], ids=["interleaved", "thirds"])
class TestOnTheCpu:
    @pytest.fixture(autouse=True)
    def interpreter(self, step: Step) -> None:
        if step is hyena_step_triton and torch.cuda.is_available():
            pytest.skip("kernels are compiled on this machine, not interpreted")

    @pytest.mark.parametrize("order", ["convolution", "cross_correlation"])
    @pytest.mark.parametrize("n_taps", [1, 2, 3, 7, 128])
    @pytest.mark.parametrize("batch", [1, 3])
    def test_taps(self, step: Step, batch: int, n_taps: int, order: TapOrder, is_interleaved: bool) -> None:
        Inputs(batch, 30, "taps", n_taps, order=order).check(step, is_interleaved)

    @pytest.mark.parametrize("kind", ["modes", "rounded"])
    @pytest.mark.parametrize("n_modes", [1, 5, 16])
    def test_modes(self, step: Step, n_modes: int, kind: str, is_interleaved: bool) -> None:
        Inputs(3, 45, kind, n_modes).check(step, is_interleaved)

    @pytest.mark.parametrize("kind", ["taps", "modes", "rounded"])
    def test_half_precision(self, step: Step, kind: str, is_interleaved: bool) -> None:
        Inputs(2, 30, kind, 7, dtype=torch.float16).check(step, is_interleaved)

    @pytest.mark.parametrize("kind", ["taps", "modes"])
    def test_no_skip_and_channels_that_are_few(self, step: Step, kind: str, is_interleaved: bool) -> None:
        Inputs(1, 5, kind, 3, group=1, has_skip=False).check(step, is_interleaved)

    @pytest.mark.parametrize("order", ["convolution", "cross_correlation"])
    def test_featurizer_in_either_order(self, step: Step, order: TapOrder, is_interleaved: bool) -> None:
        inputs = Inputs(1, 30, "taps", 3)
        inputs.featurizer = Taps(inputs.featurizer.h[::5].contiguous(), None, order)
        inputs.check(step, is_interleaved)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("kind", "size"), [("taps", 7), ("taps", 128), ("modes", 16), ("rounded", 16)])
@pytest.mark.parametrize(("batch", "channels"), [(1, 1920), (8, 240), (3, 45)])
def test_compiled(batch: int, channels: int, kind: str, size: int, dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    inputs = Inputs(batch, channels, kind, size, dtype=dtype, device="cuda")
    call = (inputs.p[..., 0], inputs.featurizer, inputs.inner, inputs.state, True)
    assert choose("hyena_step", "auto", *call).name == "triton"
    inputs.check(AUTO, True)


def test_gradients_and_the_cpu_are_left_to_the_reference() -> None:
    inputs = Inputs(1, 15, "taps", 3)
    call = (inputs.p[..., 0], inputs.featurizer, inputs.inner, inputs.state)
    assert choose("hyena_step", "auto", *call, True).name == "reference"
    with pytest.raises(ValueError, match="triton: the tensors are on the CPU"):
        hyena_step(*call, is_interleaved=True, backend="triton")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": torch.zeros(1, 44)}, r"p \(B, 3 D\); it got \(1, 44\)"),
        (
            {"featurizer": Taps(torch.zeros(45, 3), torch.zeros(45))},
            "the featurizer of hyena_step has no skip term",
        ),
        ({"featurizer": Taps(torch.zeros(2, 3))}, "G a divisor of 45"),
        ({"inner": Taps(torch.zeros(1, 4))}, r"state.inner has shape \(1, 15, 2\); expected \(1, 15, 3\)"),
        ({"inner": Taps(torch.zeros(1, 3), torch.zeros(3))}, r"skip has shape \(3,\); expected \(15,\)"),
        ({"inner": Modes(torch.zeros(15, 2), torch.zeros(15, 3))}, r"log_poles has shape \(15, 2\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change: dict[str, object], message: str) -> None:
    inputs = Inputs(1, 15, "taps", 3)
    call = {
        "p": inputs.p[..., 0],
        "featurizer": inputs.featurizer,
        "inner": inputs.inner,
        "state": inputs.state,
    }
    with pytest.raises(ValueError, match=message):
        hyena_step(**{**call, **change}, is_interleaved=True)  # type: ignore[arg-type]
