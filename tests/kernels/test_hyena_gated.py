"""The gated Hyena operator: outputs and every gradient against float64, continued from states, refused with reasons."""

from itertools import cycle

import pytest
import torch
from torch import Tensor

from genomix_kernels.hyena_gated import hyena_gated, hyena_gated_extend
from genomix_kernels.hyena_gated.reference import hyena_gated_reference
from genomix_kernels.testing import assert_close_to_reference
from tests.kernels.hyena_gated_cases import (
    BACKENDS,
    CASES,
    FILTERS,
    FORMS,
    MISSHAPEN,
    SIZES,
    Form,
    Size,
    check_backend,
    check_pieces,
    check_strides,
    filters,
    make_inputs,
    output_of,
    skip_unless_served,
    through_the_face,
    zero_state,
)


@pytest.mark.parametrize(("backend", "dtype"), CASES, ids=str)
@pytest.mark.parametrize(("size", "form"), [*zip(SIZES, cycle(FORMS))], ids=str)
@pytest.mark.parametrize("kind", FILTERS)
def test_output_and_gradients_against_the_reference(
    kind: str, size: Size, form: Form, backend: str, dtype: torch.dtype, device: str
) -> None:
    skip_unless_served(backend, device, dtype)
    check_backend(backend, kind, form, size, dtype, device)


@pytest.mark.parametrize(("backend", "dtype"), CASES, ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("kind", FILTERS)
def test_each_form(kind: str, form: Form, backend: str, dtype: torch.dtype, device: str) -> None:
    skip_unless_served(backend, device, dtype)
    check_backend(backend, kind, form, Size(3, 15, 5, 130), dtype, device)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", FILTERS)
def test_precision_of_outputs(kind: str, backend: str, dtype: torch.dtype, device: str) -> None:
    """Of `composed` outputs alone: it rounds each of its steps, and a gradient passes through two dozen."""
    skip_unless_served(backend, device, dtype)
    inputs = make_inputs(kind, Size(3, 15, 5, 127), dtype, device)
    y = output_of(through_the_face(backend), kind, FORMS[0])(**inputs)
    assert y.dtype is dtype
    exact = {name: x.double() for name, x in inputs.items()}
    assert_close_to_reference(y, output_of(hyena_gated_reference, kind, FORMS[0])(**exact))


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("kind", FILTERS)
def test_it_is_the_equation(kind: str, form: Form) -> None:
    size = Size(2, 4, 2, 40)
    tensors = make_inputs(kind, size, torch.float64)
    f, h = tensors["featurizer"], tensors.get("taps")
    if form.featurizer_order == "cross_correlation":
        f = f.flip(-1)
    if h is None:
        lags = torch.arange(40)
        h = (tensors["residues"][..., None] * torch.exp(tensors["log_poles"][..., None] * lags)).sum(1)
    else:
        h = (h.flip(-1) if form.order == "cross_correlation" else h).repeat_interleave(2, dim=0)

    def filtered(u: Tensor, taps: Tensor) -> Tensor:
        n = min(40, taps.shape[-1])
        sums = [
            (u[..., max(t + 1 - n, 0) : t + 1].flip(-1) * taps[:, : min(t + 1, n)]).sum(-1) for t in range(40)
        ]
        return torch.stack(sums, dim=-1)

    z = filtered(tensors["p"], f)
    q, k, v = (z[:, i::3] for i in range(3)) if form.is_interleaved else z.chunk(3, dim=1)
    m = k * v
    expected = q * (filtered(m, h) + tensors["skip"][:, None] * m)
    y, _ = hyena_gated_reference(tensors["p"], *filters(kind, form, tensors), form.is_interleaved)
    assert_close_to_reference(y, expected)


@pytest.mark.parametrize("backend", ["reference", "composed"])
@pytest.mark.parametrize("kind", FILTERS)
def test_gradcheck(kind: str, backend: str) -> None:
    inputs = make_inputs(kind, Size(1, 2, 1, 5), torch.float64)
    if "taps" in inputs:
        inputs["taps"] = inputs["taps"][:, :6].contiguous()
    tensors = {name: x.requires_grad_() for name, x in inputs.items()}
    call = output_of(through_the_face(backend), kind, FORMS[0])
    assert torch.autograd.gradcheck(
        lambda *given: call(**dict(zip(tensors, given, strict=True))), list(tensors.values())
    )


@pytest.mark.parametrize(("backend", "dtype"), [*CASES, ("reference", torch.float64)], ids=str)
@pytest.mark.parametrize("form", FORMS[:2], ids=str)
@pytest.mark.parametrize("kind", FILTERS)
def test_a_state_continues(kind: str, form: Form, backend: str, dtype: torch.dtype, device: str) -> None:
    skip_unless_served(backend, device, dtype)
    lengths = [1, 2, 60, 1, 64, 5, 130, 1, 36]
    check_pieces(through_the_face(backend), kind, form, Size(3, 5, 5, 300), dtype, lengths, device)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", FILTERS)
def test_a_later_token_changes_nothing_earlier(kind: str, backend: str, device: str) -> None:
    skip_unless_served(backend, device, torch.float32)
    inputs = make_inputs(kind, Size(1, 5, 5, 150), torch.float32, device)
    call = output_of(through_the_face(backend), kind, FORMS[0])
    before = call(**inputs)
    inputs["p"][..., 90:] = 1e3
    after = call(**inputs)
    assert torch.equal(after[..., :90], before[..., :90])
    assert not torch.equal(after, before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", FILTERS)
def test_strides_are_free(kind: str, backend: str, device: str) -> None:
    dtype = torch.float32 if backend == "triton" else torch.float64
    if backend == "triton" and kind.startswith("LI"):
        dtype = torch.bfloat16  # of fp32 inputs it takes no gradients
    skip_unless_served(backend, device, dtype)
    check_strides(through_the_face(backend), kind, dtype, device)


@pytest.mark.parametrize(("kind", "changes", "message"), MISSHAPEN, ids=str)
def test_shapes_that_do_not_fit_are_named(
    kind: str, changes: dict[str, tuple[int, ...]], message: str
) -> None:
    size = Size(2, 3, 3, 5)
    tensors = make_inputs(kind, size, torch.float32)
    state = zero_state(kind, size, tensors)
    tensors |= {name: torch.zeros(shape) for name, shape in changes.items()}
    call = output_of(through_the_face("auto"), kind, FORMS[0])
    with pytest.raises(ValueError, match=message):
        call(**tensors)
    with pytest.raises(ValueError, match=message):
        hyena_gated_extend(tensors["p"], *filters(kind, FORMS[0], tensors), state)


def test_a_featurizer_has_no_skip() -> None:
    inputs = make_inputs("SE", Size(1, 3, 3, 5), torch.float32)
    featurizer, inner = filters("SE", FORMS[0], inputs)
    with pytest.raises(ValueError, match="without a skip term"):
        hyena_gated(inputs["p"], featurizer._replace(skip=torch.zeros(9)), inner)


@pytest.mark.parametrize(("kind", "length"), [("SE", 6), ("LI", 16)])
def test_a_state_that_does_not_fit_is_named(kind: str, length: int) -> None:
    size = Size(2, 3, 3, 5)
    tensors = make_inputs(kind, size, torch.float32)
    state = zero_state(kind, size, tensors)
    parts = filters(kind, FORMS[0], tensors)
    expected = rf"expected \(2, 9, 2\) and \(2, 3, {length}\)"
    with pytest.raises(ValueError, match=rf"shapes \(1, 9, 2\) and \(2, 3, {length}\); {expected}"):
        hyena_gated_extend(tensors["p"], *parts, state._replace(featurizer=state.featurizer[:1]))
    with pytest.raises(ValueError, match=rf"shapes \(2, 9, 2\) and \(2, 3, {length - 1}\); {expected}"):
        hyena_gated_extend(tensors["p"], *parts, state._replace(inner=state.inner[..., 1:]))
    with pytest.raises(ValueError, match=rf"shapes \(2, 9, 2\) and \(2, 3, {length - 1}\); {expected}"):
        hyena_gated(tensors["p"], *parts, state=state._replace(inner=state.inner[..., 1:]))


@pytest.mark.parametrize("backend", ["composed", "reference"])
@pytest.mark.parametrize("kind", ["SE", "MR", "LI"])
def test_what_came_before_without_a_state_after(kind: str, backend: str) -> None:
    size = Size(2, 3, 3, 40)
    tensors = make_inputs(kind, size, torch.float64)
    parts = filters(kind, FORMS[0], tensors)
    state = zero_state(kind, size, tensors)
    _, state = hyena_gated_extend(tensors["p"][..., :21], *parts, state, backend=backend)
    y = hyena_gated(tensors["p"][..., 21:], *parts, state=state, backend=backend)
    expected, _ = hyena_gated_extend(tensors["p"][..., 21:], *parts, state, backend=backend)
    assert torch.equal(y, expected)
    whole = hyena_gated(tensors["p"], *parts, backend=backend)
    torch.testing.assert_close(y, whole[..., 21:], rtol=0, atol=1e-10)
