"""Inputs and comparisons for the tests of `hyena_gated`."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import implementations
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


def check_growing_modes(operator: Operator, size: Size, dtype: torch.dtype, device: str = "cpu") -> None:
    """Compare y and every gradient with float64, where poles are positive, as nothing keeps them from in training."""
    inputs = make_inputs("LI", size, dtype, device)
    channels, n = inputs["log_poles"].shape
    poles = torch.linspace(-2.0, 6.0 / size.seqlen, channels * n, device=device)
    inputs["log_poles"] = poles.reshape(n, channels).t().contiguous()  # each channel has one that grows
    kernel, reference = (output_of(each, "LI", FORMS[0]) for each in (operator, hyena_gated_reference))
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
