"""`hyena_gated` in Triton: in its interpreter on a CPU, compiled on a GPU."""

from functools import partial
from itertools import cycle

import pytest
import torch

from genomix_kernels.dispatch import choose
from genomix_kernels.hyena_gated import HyenaState, Modes, Taps, hyena_gated, hyena_gated_extend
from genomix_kernels.hyena_gated.reference import hyena_gated_reference
from genomix_kernels.testing import assert_close_to_reference, check_against_reference
from tests.kernels.hyena_gated_cases import (
    FILTERS,
    FORMS,
    INTERPRETED,
    LONG_SIZES,
    VIEWS,
    Form,
    Operator,
    Size,
    check,
    check_backend,
    check_growing_modes,
    check_pieces,
    check_strides,
    filters,
    make_inputs,
    output_of,
    through_the_face,
    zero_state,
)


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip where Triton compiles; make tiles of 64 or 128 tokens of those of thousands."""
    triton = pytest.importorskip("triton")
    interpreted = pytest.importorskip("triton.runtime.interpreter").InterpretedFunction
    if not isinstance(triton.language.sum, interpreted):
        pytest.skip("Triton was imported without TRITON_INTERPRET=1")
    from genomix_kernels.hyena_gated import modal_launch

    monkeypatch.setattr(modal_launch, "CHUNK", 16)
    monkeypatch.setattr(modal_launch, "ROWS", 4)
    monkeypatch.setattr(modal_launch, "STATES_TILE", 64)
    monkeypatch.setattr(modal_launch, "SHORT", 0)
    monkeypatch.setattr(modal_launch, "LEAST_TILES", 1)


@pytest.mark.usefixtures("interpreter")
class TestInterpretedTriton:
    @pytest.fixture
    def operator(self, interpreter: None) -> Operator:
        from genomix_kernels.hyena_gated.triton_backend import hyena_gated_triton

        return hyena_gated_triton

    @pytest.mark.parametrize(
        ("kind", "dtype", "size", "form"),
        [(*case, form) for case, form in zip(INTERPRETED, cycle(FORMS))],
        ids=str,
    )
    def test_output_and_gradients(
        self, operator: Operator, kind: str, dtype: torch.dtype, size: Size, form: Form
    ) -> None:
        check(operator, kind, form, size, dtype)

    @pytest.mark.parametrize("form", FORMS, ids=str)
    @pytest.mark.parametrize("kind", ["SE", "MR", "LI"])
    def test_each_form(self, operator: Operator, kind: str, form: Form) -> None:
        check(operator, kind, form, Size(1, 2, 1, 20), torch.float32)

    @pytest.mark.parametrize(
        ("kind", "dtype"),
        [("SE", torch.float16), ("MR", torch.float16), ("LI", torch.float32), ("LI-rounded", torch.float16)],
        ids=str,
    )
    def test_a_state_continues(self, operator: Operator, kind: str, dtype: torch.dtype) -> None:
        check_pieces(operator, kind, FORMS[1], Size(1, 3, 1, 210), dtype, [1, 2, 61, 6, 140])

    @pytest.mark.parametrize("kind", ["SE", "MR", "LI"])
    def test_a_later_token_changes_nothing_earlier(self, operator: Operator, kind: str) -> None:
        inputs = make_inputs(kind, Size(1, 1, 1, 150), torch.float32)
        call = output_of(operator, kind, FORMS[0])
        before = call(**inputs)
        inputs["p"][..., 90:] = 1e3
        assert torch.equal(call(**inputs)[..., :90], before[..., :90])

    @pytest.mark.parametrize("kind", ["SE", "LI"])
    def test_strides_are_free(self, operator: Operator, kind: str) -> None:
        check_strides(operator, kind, torch.float32, seqlen=20, views=VIEWS[:2])

    @pytest.mark.parametrize("seqlen", [63, 70, 128, 251])
    def test_modes_that_grow(self, operator: Operator, seqlen: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Within the sequence all is finite; over a whole tile of 4096 tokens these modes would not be."""
        from genomix_kernels.hyena_gated import modal_launch

        monkeypatch.setattr(modal_launch, "CHUNK", 64)
        monkeypatch.setattr(modal_launch, "ROWS", 64)
        check_growing_modes(operator, Size(1, 3, 1, seqlen), torch.float32)

    def test_a_longer_featurizer(self, operator: Operator) -> None:
        inputs = make_inputs("SE", Size(1, 3, 3, 70), torch.float32)
        inputs["featurizer"] = torch.randn(9, 8, generator=torch.Generator().manual_seed(0))
        kernel, reference = (output_of(each, "SE", FORMS[0]) for each in (operator, hyena_gated_reference))
        check_against_reference(kernel, reference, inputs, dtype=torch.float32)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
class TestOnTheGpu:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
    @pytest.mark.parametrize(("size", "form"), [*zip(LONG_SIZES, FORMS, strict=False)], ids=str)
    @pytest.mark.parametrize("kind", FILTERS)
    def test_long_sequences(self, kind: str, size: Size, form: Form, dtype: torch.dtype) -> None:
        check_backend("triton", kind, form, size, dtype, "cuda")

    @pytest.mark.parametrize("seqlen", [63, 70, 101, 200, 251])
    def test_modes_that_grow(self, seqlen: int) -> None:
        check_growing_modes(through_the_face("triton"), Size(3, 45, 3, seqlen), torch.bfloat16, "cuda")

    @pytest.mark.parametrize("kind", FILTERS)
    def test_few_channels_and_a_long_sequence(self, kind: str) -> None:
        check(through_the_face("triton"), kind, FORMS[0], Size(1, 45, 3, 100_001), torch.bfloat16, "cuda")

    @pytest.mark.parametrize("seqlen", [1, 65, 8193])
    @pytest.mark.parametrize("kind", FILTERS)
    def test_a_row_is_the_same_alone_and_in_a_batch(self, kind: str, seqlen: int) -> None:
        size = Size(33, 15, 5, seqlen)
        inputs = make_inputs(kind, size, torch.bfloat16, "cuda")
        featurizer, inner = filters(kind, FORMS[0], inputs)
        start = zero_state(kind, size, inputs)
        call = partial(hyena_gated_extend, featurizer=featurizer, inner=inner, backend="triton")
        p = inputs["p"]
        y, after = call(p, state=start)
        assert torch.equal(hyena_gated(p, featurizer, inner, backend="triton"), y)
        for row in (0, 32):
            at = slice(row, row + 1)
            alone, end = call(p[at], state=HyenaState(start.featurizer[at], start.inner[at]))
            assert torch.equal(alone, y[at])
            assert torch.equal(end.featurizer, after.featurizer[at])
            assert torch.equal(end.inner, after.inner[at])

    @pytest.mark.parametrize("kind", ["SE", "MR", "LI"])
    def test_more_elements_than_an_int_counts(self, kind: str) -> None:
        """The last channel stands behind 2^31 elements, of which float64 is taken alone."""
        channels, groups, seqlen = 90, 90, (1 << 23) + 8
        assert 3 * channels * seqlen > 1 << 31
        form = Form(True, "cross_correlation", "convolution", True)
        inputs = make_inputs(kind, Size(1, channels, groups, 1), torch.float32, "cuda")
        inputs["p"] = torch.randn(1, 3 * channels, seqlen, device="cuda", dtype=torch.bfloat16)
        ours = {name: x.requires_grad_() for name, x in inputs.items()}
        y = output_of(through_the_face("triton"), kind, form)(**ours)
        dy = torch.randn_like(y)
        torch.autograd.backward(y, dy)

        # a parameter's gradient of one channel may be a sum that cancels: those are compared where channels are many
        theirs = {
            name: x.detach()[:, -3:] if name == "p" else x.detach()[-3 if name == "featurizer" else -1 :]
            for name, x in ours.items()
        }
        theirs = {name: x.double().requires_grad_(name == "p") for name, x in theirs.items()}
        expected = output_of(through_the_face("composed"), kind, form)(**theirs)
        torch.autograd.backward(expected, dy[:, -1:].double())
        assert_close_to_reference(y[:, -1:], expected)
        for name, x in ours.items():
            assert x.grad is not None, name
            assert torch.isfinite(x.grad).all(), name
        found, wanted = ours["p"].grad, theirs["p"].grad
        assert found is not None
        assert wanted is not None
        assert_close_to_reference(found[:, -3:], wanted, name="gradient of p")


def test_triton_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from genomix_kernels.hyena_gated import triton_backend

    size = Size(1, 3, 3, 5)
    inputs = make_inputs("SE", size, torch.float32)
    p = inputs["p"]
    featurizer, taps = filters("SE", FORMS[0], inputs)
    of_modes = make_inputs("LI", size, torch.float32)
    _, modes = filters("LI", FORMS[0], of_modes)
    assert isinstance(modes, Modes)
    assert choose("hyena_gated", "auto", p, featurizer, taps, True, None, False).name == "composed"
    with pytest.raises(ValueError, match="triton: the tensors are on the CPU"):
        hyena_gated(p, featurizer, taps, backend="triton")

    pytest.importorskip("triton")
    monkeypatch.setattr(triton_backend, "why_not_triton", lambda *_: None)
    why_not = triton_backend.why_not
    assert why_not(p, featurizer, taps) is None
    assert why_not(p, featurizer, modes) is None
    assert why_not(p, Taps(torch.zeros(9, 9)), taps) == "the featurizer has 9 taps, more than 8"
    assert why_not(p, featurizer, Taps(torch.zeros(3, 257))) == "257 taps are more than 256"
    in_double = modes._replace(log_poles=modes.log_poles.double())
    assert why_not(p, featurizer, in_double) == "poles and residues are not in fp32"
    many = Modes(torch.zeros(3, 65), torch.zeros(3, 65))
    assert why_not(p, featurizer, many) == "65 modes are more than 64"

    states = {name: zero_state(name, size, inputs) for name in ("SE", "LI")}
    assert why_not(p, featurizer, taps, True, states["SE"]) is None
    p.requires_grad_()
    assert why_not(p, featurizer, taps) is None
    assert "gradients of fp32 inputs" in (why_not(p, featurizer, modes, True, None, False) or "")
    half = p.detach().half().requires_grad_()
    assert why_not(half, featurizer, modes, True, None, False) is None
    assert why_not(half, featurizer, modes) == "gradients of a state are not taken"
    for inner, state in ((taps, states["SE"]), (modes, states["LI"])):
        assert why_not(p, featurizer, inner, True, state) == "gradients behind a state are not taken"
        with torch.no_grad():
            assert why_not(p, featurizer, inner, True, state) is None
