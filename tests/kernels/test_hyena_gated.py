"""The gated Hyena operator: outputs and every gradient against float64, continued from states, refused with reasons."""

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose, implementations
from genomix_kernels.hyena_gated import HyenaState, Modes, TapOrder, Taps, hyena_gated, hyena_gated_extend
from genomix_kernels.hyena_gated.reference import hyena_gated_reference
from genomix_kernels.testing import assert_close_to_reference, check_against_reference

BACKENDS = [implementation.name for implementation in implementations("hyena_gated")]
FEATURIZER_LEN = 3
FILTERS = {"SE": 7, "MR": 128, "LI": 16, "LI-rounded": 16}
"""Taps, or modes; ``LI-rounded`` rounds the filtered part before the skip term is added."""

Operator = Callable[..., tuple[Tensor, HyenaState | None]]


class Form(NamedTuple):
    """Where q, k and v stand, which way round the taps of both filters are, and whether there is a skip term."""

    is_interleaved: bool
    featurizer_order: TapOrder
    order: TapOrder
    has_skip: bool

    def __str__(self) -> str:
        words = (
            "interleaved" if self.is_interleaved else "thirds",
            self.featurizer_order,
            self.order,
            "skip" if self.has_skip else "no-skip",
        )
        return "-".join(words)


class Size(NamedTuple):
    batch: int
    channels: int
    groups: int
    seqlen: int

    def __str__(self) -> str:
        return f"B{self.batch}-D{self.channels}-G{self.groups}-L{self.seqlen}"


FORMS = [
    Form(True, "cross_correlation", "cross_correlation", True),
    Form(False, "convolution", "cross_correlation", True),
    Form(True, "cross_correlation", "convolution", False),
    Form(False, "convolution", "convolution", True),
]
# channels enough for a parameter's gradient to be more than a sum that happens to cancel
SIZES = [
    Size(3, 15, 15, 1),
    Size(1, 45, 15, 2),
    Size(3, 25, 5, 63),
    Size(1, 45, 15, 64),
    Size(1, 45, 3, 65),
    Size(3, 25, 25, 127),
    Size(1, 45, 3, 1000),
]
LONG_SIZES = [Size(1, 45, 15, 8192), Size(3, 15, 15, 8193)]
INTERPRETED = [
    *(("SE", torch.float16, size) for size in (Size(3, 1, 1, 1), Size(1, 3, 3, 2), Size(1, 3, 1, 150))),
    *(("SE", torch.float32, size) for size in (Size(1, 3, 1, 63), Size(1, 3, 3, 65))),
    *(("MR", torch.float16, size) for size in (Size(1, 3, 1, 1), Size(1, 3, 1, 63), Size(1, 3, 3, 150))),
    *(("MR", torch.float32, size) for size in (Size(1, 3, 3, 2), Size(1, 3, 1, 65))),
    *(("LI", torch.float32, size) for size in (Size(3, 1, 1, 1), Size(1, 3, 1, 2), Size(1, 2, 1, 64))),
    *(("LI", torch.float32, size) for size in (Size(1, 2, 1, 65), Size(1, 2, 1, 150))),
    # in 16 bits the gradients of few poles are noise: sums over few tokens that happen to cancel
    ("LI", torch.float16, Size(1, 7, 1, 75)),
    ("LI-rounded", torch.float16, Size(1, 9, 1, 20)),
]


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


def make_inputs(kind: str, size: Size, dtype: torch.dtype, device: str = "cpu") -> dict[str, Tensor]:
    """Return the tensors of a call; ``skip`` among them."""
    batch, channels, groups, seqlen = size
    generator = torch.Generator().manual_seed(seqlen + channels)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    inputs = {
        "p": random(batch, 3 * channels, seqlen),
        "featurizer": random(3 * channels, FEATURIZER_LEN),
        "skip": random(channels),
    }
    made = {name: x.to(device, dtype) for name, x in inputs.items()}
    n = FILTERS[kind]
    if kind in ("SE", "MR"):
        made["taps"] = random(groups, n).to(device, dtype)
        return made
    precise = torch.promote_types(dtype, torch.float32)
    poles = -torch.logspace(-6, 0.7, channels * n).reshape(n, channels).t()
    made["log_poles"] = poles.contiguous().to(device, precise)
    # slow modes sum over the whole sequence: fp16 ends at 65504
    made["residues"] = (random(channels, n) * (n * seqlen) ** -0.5).to(device, precise)
    return made


def filters(kind: str, form: Form, tensors: dict[str, Tensor]) -> tuple[Taps, Taps | Modes]:
    featurizer = Taps(tensors["featurizer"], None, form.featurizer_order)
    skip = tensors.get("skip")
    if kind in ("SE", "MR"):
        return featurizer, Taps(tensors["taps"], skip, form.order)
    return featurizer, Modes(tensors["log_poles"], tensors["residues"], skip, kind == "LI-rounded")


def output_of(operator: Operator, kind: str, form: Form) -> Callable[..., Tensor]:
    """Return a function of the tensors of a call, as keywords, that gives y."""

    def call(**tensors: Tensor) -> Tensor:
        featurizer, inner = filters(kind, form, tensors)
        return operator(tensors["p"], featurizer, inner, form.is_interleaved, None, False)[0]

    return call


def through_the_face(backend: str) -> Operator:
    def call(
        p: Tensor,
        featurizer: Taps,
        inner: Taps | Modes,
        is_interleaved: bool,
        state: HyenaState | None = None,
        wants_state: bool = True,
    ) -> tuple[Tensor, HyenaState | None]:
        if state is None:
            y = hyena_gated(p, featurizer, inner, is_interleaved=is_interleaved, backend=backend)
            return y, None
        return hyena_gated_extend(p, featurizer, inner, state, is_interleaved=is_interleaved, backend=backend)

    return call


def check(
    operator: Operator, kind: str, form: Form, size: Size, dtype: torch.dtype, device: str = "cpu"
) -> None:
    """Compare y and the gradients of projections, featurizer, taps or modes, and skip with float64."""
    inputs = make_inputs(kind, size, dtype, device)
    if not form.has_skip:
        del inputs["skip"]
    # a reference by the recurrence takes a step a token; the one in chunks is compared with it in float64
    exact = hyena_gated_reference if size.seqlen <= 1000 else through_the_face("composed")
    kernel, reference = (output_of(each, kind, form) for each in (operator, exact))
    check_against_reference(kernel, reference, inputs, dtype=dtype)


def skip_unless_served(backend: str, device: str, dtype: torch.dtype) -> None:
    """Skip, with the backend's own reason, what it says that it cannot serve."""
    chosen = next(each for each in implementations("hyena_gated") if each.name == backend)
    inputs = make_inputs("SE", SIZES[0], dtype, device)
    reason = chosen.supports(inputs["p"], *filters("SE", FORMS[0], inputs), True, None, False)
    if reason is not None:
        pytest.skip(f"{backend}: {reason}")


def check_backend(backend: str, kind: str, form: Form, size: Size, dtype: torch.dtype, device: str) -> None:
    """`check` through the face; of LI in fp32, whose gradients Triton leaves to others, the output alone."""
    operator = through_the_face(backend)
    if not (backend == "triton" and kind.startswith("LI") and dtype is torch.float32):
        check(operator, kind, form, size, dtype, device)
        return
    inputs = make_inputs(kind, size, dtype, device)
    exact = {name: x.double() for name, x in inputs.items()}
    y = output_of(operator, kind, form)(**inputs)
    reference = hyena_gated_reference if size.seqlen <= 1000 else through_the_face("composed")
    assert_close_to_reference(y, output_of(reference, kind, form)(**exact))


def zero_state(kind: str, size: Size, tensors: dict[str, Tensor]) -> HyenaState:
    batch, channels = size.batch, size.channels
    p = tensors["p"]
    if kind in ("SE", "MR"):
        inner = p.new_zeros(batch, channels, FILTERS[kind] - 1)
    else:
        precise = torch.promote_types(p.dtype, torch.float32)
        inner = p.new_zeros(batch, channels, FILTERS[kind], dtype=precise)
    return HyenaState(p.new_zeros(batch, 3 * channels, FEATURIZER_LEN - 1), inner)


def check_pieces(
    operator: Operator,
    kind: str,
    form: Form,
    size: Size,
    dtype: torch.dtype,
    lengths: list[int],
    device: str = "cpu",
) -> None:
    """Feed the tokens in pieces: outputs and the last state are those of the whole, and no state given is changed."""
    tensors = make_inputs(kind, size, dtype, device)
    exact = {name: x.double() for name, x in tensors.items()}
    expected, expected_state = hyena_gated_reference(
        exact["p"], *filters(kind, form, exact), form.is_interleaved
    )
    state = zero_state(kind, size, tensors)
    pieces = []
    for piece in torch.split(tensors["p"], lengths, dim=-1):
        given = HyenaState(*(x.clone() for x in state))
        y, after = operator(piece, *filters(kind, form, tensors), form.is_interleaved, state, True)
        assert after is not None
        assert all(torch.equal(left, right) for left, right in zip(state, given, strict=True))
        state = after
        pieces.append(y)
    assert_close_to_reference(torch.cat(pieces, dim=-1), expected)
    assert torch.equal(state.featurizer.double(), expected_state.featurizer)
    assert_close_to_reference(state.inner, expected_state.inner, dtype=dtype, name="inner state")


CASES = [
    ("composed", torch.float64),
    ("composed", torch.float32),
    ("triton", torch.float32),
    ("triton", torch.bfloat16),
    ("triton", torch.float16),
]


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


VIEWS = ("features last", "part", "expanded")


def check_strides(
    operator: Operator,
    kind: str,
    dtype: torch.dtype,
    device: str = "cpu",
    *,
    seqlen: int = 70,
    views: tuple[str, ...] = VIEWS,
) -> None:
    """Projections features last, of a larger tensor, expanded; gradients with the features last; filters transposed."""
    inputs = make_inputs(kind, Size(1, 3, 3, seqlen), dtype, device)

    def of_views(view: str, operator: Operator, **tensors: Tensor) -> Tensor:
        p = tensors["p"]
        if view == "features last":
            p = p.transpose(1, 2).contiguous().transpose(1, 2)
        if view == "part":
            p = torch.nn.functional.pad(p, (3, 5, 1, 2))[:, 1:-2, 3:-5]
        if view == "expanded":
            p = p.expand(3, -1, -1)
        # of which neighbours in memory are not neighbours in the filter
        transposed = {
            name: tensors[name].t().contiguous().t()
            for name in ("featurizer", "log_poles")
            if name in tensors
        }
        y = output_of(operator, kind, FORMS[0])(**(tensors | transposed | {"p": p}))
        return y.transpose(1, 2).contiguous().transpose(1, 2)

    for view in views:
        kernel, reference = (partial(of_views, view, each) for each in (operator, hyena_gated_reference))
        check_against_reference(kernel, reference, inputs, dtype=dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", FILTERS)
def test_strides_are_free(kind: str, backend: str, device: str) -> None:
    dtype = torch.float32 if backend == "triton" else torch.float64
    skip_unless_served(backend, device, dtype)
    check_strides(through_the_face(backend), kind, dtype, device)


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


MISSHAPEN: list[tuple[str, dict[str, tuple[int, ...]], str]] = [
    ("SE", {"p": (2, 10, 5)}, r"takes projections \(B, 3 D, L >= 1\); it got \(2, 10, 5\)"),
    ("SE", {"p": (2, 9, 0)}, r"it got \(2, 9, 0\)"),
    ("SE", {"p": (9, 5)}, r"it got \(9, 5\)"),
    ("SE", {"featurizer": (3, 3)}, r"featurizer has taps \(3, 3\); expected \(9, F\), without a skip term"),
    ("SE", {"taps": (2, 7)}, r"filter has taps \(2, 7\); expected \(G, K\), G a divisor of 3"),
    ("SE", {"taps": (3, 0)}, r"filter has taps \(3, 0\)"),
    ("LI", {"residues": (3, 15)}, r"shapes \(3, 16\) and \(3, 15\); expected \(3, N\) both"),
    ("LI", {"log_poles": (4, 16), "residues": (4, 16)}, r"shapes \(4, 16\) and \(4, 16\)"),
    ("LI", {"skip": (9,)}, r"skip has shape \(9,\); expected \(3,\)"),
    ("SE", {"skip": (3, 1)}, r"skip has shape \(3, 1\); expected \(3,\)"),
]


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
