"""Long convolutions in pieces: the CUDA source on a CPU, with small blocks and short rows, and on a GPU."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from genomix_kernels.dispatch import choose, implementations
from genomix_kernels.fftconv import fftconv, kept_spectra, split_cuda, split_passes, split_rows
from genomix_kernels.fftconv.cuda_backend import fftconv_cuda
from genomix_kernels.fftconv.onepass_cuda import OLDEST_CAPABILITY, Split
from genomix_kernels.fftconv.reference import fftconv_reference
from genomix_kernels.fftconv.split_cuda import (
    backward,
    convolve,
    convolve_with,
    filter_gradient,
    spectrum,
)
from genomix_kernels.fftconv.split_plan import SEGMENTS, WIDTH, Plan, plan_for
from genomix_kernels.testing import relative_rms_error
from tests.kernels.conftest import Emulate
from tests.kernels.onepass_cases import (
    BOUND_OF_CLUSTER,
    Case,
    check_autograd,
    check_repeats,
    expected,
    make_case,
)

SMALL = Plan(3, Split(4, 4))


def _use(plan: Plan, emulate: Emulate, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the kernels' source on this CPU for rows split in this way, and return how many tokens they hold."""
    emulate(split_cuda, split_passes)
    monkeypatch.setattr(split_cuda, "plan_for", lambda seqlen: plan)
    return plan.points * plan.segments


def _check(case: Case) -> None:
    """Check the output and every gradient: all in one pass over the signals, and each by itself."""
    wanted = expected(case)
    u, dy, h, skip = (case[name] for name in ("u", "dy", "h", "skip"))
    pre_gate, post_gate = case.get("pre_gate"), case.get("post_gate")
    prepared = spectrum(h, u.shape[-1])
    found = {"y": convolve(u, prepared, skip, pre_gate, post_gate)}
    if split_cuda.oldest_capability(u.shape[-1]) == OLDEST_CAPABILITY:
        y, left = convolve_with(u, h, skip, pre_gate, post_gate, leaves_spectrum=True)
        assert torch.equal(y, found["y"])
        assert left is not None
        assert torch.equal(left, prepared)
        assert torch.equal(convolve_with(u, h, skip, pre_gate, post_gate)[0], y)
    gradients = backward(u, dy, prepared, skip, h.shape[1], pre_gate, post_gate)
    found |= {name: x for name, x in gradients._asdict().items() if x is not None}
    assert torch.equal(filter_gradient(u, dy, h.shape[1], pre_gate, post_gate), found["h"])
    if pre_gate is None:
        assert torch.equal(convolve(dy, prepared, skip, is_adjoint=True), found["u"])
    else:
        d_pre, ungated = torch.empty_like(u), torch.empty_like(u)
        options = {"second": d_pre, "second_gate": u}
        du = convolve(dy, prepared, skip, post_gate, pre_gate, is_adjoint=True, **options)
        assert torch.equal(du, found["u"])
        assert torch.equal(d_pre, found["pre_gate"])
        assert torch.equal(convolve(u, prepared, skip, pre_gate, post_gate, second=ungated), found["y"])
        found["post_gate"] = dy.double() * ungated
    for name, x in found.items():
        error = relative_rms_error(x, wanted[name])
        bound = BOUND_OF_CLUSTER[u.dtype if name != "h" else torch.float32]
        assert error < bound, f"{name}: {error:.2e}"


def _in_order(plan: Plan, planes: Tensor) -> Tensor:
    """Return words in the order of their numbers, or back: rows of 16^3 have chunks of a line exchanged."""
    if not plan.is_cube:
        return planes
    chunks = planes.view(len(planes), -1, 8, 4)  # of lines of 32 words
    turn = torch.arange(4096).view(-1, 32)[:, 0] // 512 % 4
    places = torch.arange(8) ^ (2 * (turn % 2) ^ 5 * (turn // 2))[:, None]
    return chunks.gather(2, places[None, :, :, None].expand_as(chunks)).view_as(planes)


def _check_batch_invariance(case: Case) -> None:
    u, dy, h, skip = (case[name] for name in ("u", "dy", "h", "skip"))
    prepared = spectrum(h, u.shape[-1])
    together = convolve(u, prepared, skip)
    assert torch.equal(convolve(u[-1:], prepared, skip), together[-1:])
    assert torch.equal(convolve(u, prepared, skip), together)
    gradients = backward(u, dy, prepared, skip, h.shape[1])
    assert torch.equal(backward(u[-1:], dy[-1:], prepared, skip, h.shape[1]).u, gradients.u[-1:])
    assert torch.equal(backward(u, dy, prepared, skip, h.shape[1]).h, gradients.h)


def _check_quiet_rows(seqlen: int, device: str) -> None:
    """Check that rows of a batch that are zeros take nothing off those that are merely quiet."""
    case = make_case((3, 1, seqlen, seqlen), torch.bfloat16, device, gates=False)
    case["u"] *= 1e-9
    case["u"][0] = 0
    case["dy"][1] = 0
    u, dy, h = case["u"], case["dy"], case["h"]
    gradients = backward(u, dy, spectrum(h, seqlen), case["skip"], seqlen)
    wanted = expected(case)
    assert relative_rms_error(gradients.h, wanted["h"]) < BOUND_OF_CLUSTER[torch.float32]
    assert relative_rms_error(gradients.u, wanted["u"]) < BOUND_OF_CLUSTER[torch.bfloat16]


def _check_loud_token(seqlen: int, device: str) -> None:
    case = make_case((1, 1, seqlen, seqlen), torch.bfloat16, device, gates=False)
    u, h, skip = case["u"] * 1e-3, case["h"], case["skip"]
    u[..., seqlen // 2] = 3e4
    found = convolve(u, spectrum(h, seqlen), skip)
    wanted = fftconv_reference(u.double(), h.double(), skip.double())
    assert relative_rms_error(found, wanted) < BOUND_OF_CLUSTER[u.dtype]
    quiet = found[..., : seqlen // 2].double().square().mean().sqrt()
    assert quiet < 1.5e-3 * wanted.square().mean().sqrt()


def _check_zeros(seqlen: int, device: str) -> None:
    zeros = torch.zeros(1, 1, seqlen, device=device, dtype=torch.bfloat16)
    h, skip = torch.zeros(1, seqlen, device=device), torch.full((1,), 1e6, device=device)
    ones = torch.ones_like(zeros)
    # a filter of zeros leaves the skip, one of ones the sum
    assert relative_rms_error(convolve(ones, spectrum(h, seqlen), skip), 1e6 * ones) < 3e-3
    summing = spectrum(h + 1, seqlen)
    wanted = torch.arange(1, seqlen + 1, device=device).expand(1, 1, seqlen)
    assert relative_rms_error(convolve(ones, summing, None), wanted) < 3e-3
    assert not convolve(zeros, summing, skip).any()
    assert not filter_gradient(zeros, ones, seqlen).any()


# KiB of a multiprocessor's shared memory: room for a transform that waits and for both parts of what threads exchange,
# for one part, and for no transform
@pytest.mark.parametrize("shared", [228, 110, 64])
def test_output_and_gradients_on_the_cpu(
    shared: int, emulate: Emulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = _use(SMALL, emulate, monkeypatch)
    monkeypatch.setattr(split_rows, "shared_of_sm", lambda device: shared << 10)
    case = make_case((2, 1, size - 96, size // 3), torch.float16)
    check_autograd(case, partial(fftconv_cuda, is_split=True))
    case = make_case((2, 1, size, size), torch.bfloat16, gates=False)
    monkeypatch.setattr(split_cuda, "BLOCKS_OF_GPU", 0)
    monkeypatch.setattr(split_rows, "BLOCKS_OF_GPU", 0)
    check_autograd(case, partial(fftconv_cuda, is_split=True))
    # an odd number of rows
    _check(make_case((3, 1, size, 17), torch.bfloat16, gates=False))


@pytest.mark.parametrize(("largest", "n_made"), [(1 << 30, 1), (0, 0)], ids=["kept", "too large to be kept"])
def test_a_frozen_filter_is_transformed_once_or_on_the_way(
    largest: int, n_made: int, emulate: Emulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = _use(SMALL, emulate, monkeypatch)
    monkeypatch.setattr(kept_spectra, "LARGEST", largest)
    made = []

    def make(h: Tensor, seqlen: int) -> Tensor:
        made.append(h)
        return spectrum(h, seqlen)

    monkeypatch.setattr(split_cuda, "spectrum", make)
    case = make_case((1, 1, size, 17), torch.bfloat16, gates=False)
    u, h, skip = (case[name] for name in ("u", "h", "skip"))
    wanted = convolve(u, spectrum(h, size), skip)
    for _ in range(2):
        assert torch.equal(fftconv_cuda(u, h, skip, keeps_spectrum=True, is_split=True), wanted)
    assert len(made) == n_made


@pytest.mark.parametrize("asked", [("u",), ("pre_gate", "h"), ("h",)], ids="+".join)
def test_only_gradients_that_are_asked_for_on_the_cpu(
    asked: tuple[str, ...], emulate: Emulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = _use(SMALL, emulate, monkeypatch)
    case = make_case((1, 1, size - 96, size // 3), torch.float16)
    inputs: dict[str, Any] = {
        name: x.clone().requires_grad_(name in asked) for name, x in case.items() if name != "dy"
    }
    torch.autograd.backward(fftconv_cuda(**inputs, is_split=True), case["dy"])
    wanted = expected(case)
    for name, x in inputs.items():
        assert (x.grad is not None) == (name in asked)
        if x.grad is not None:
            assert relative_rms_error(x.grad, wanted[name]) < BOUND_OF_CLUSTER[x.dtype]


def test_more_blocks_and_segments_on_the_cpu(emulate: Emulate, monkeypatch: pytest.MonkeyPatch) -> None:
    size = _use(Plan(3, Split(4, 4, 4)), emulate, monkeypatch)
    # no multiple of four tokens: they are loaded one by one
    _check(make_case((1, 1, size - 4001, size // 3), torch.bfloat16, gates=False))


@pytest.mark.parametrize(
    ("plan", "bound"),
    [
        (Plan(10, Split(4, 4, 2)), 3e-4),
        (Plan(28, Split(4, 4, 2)), 3e-4),
        (Plan(64, Split(4, 4, 2)), 3e-4),
        (Plan(20, Split(4, 4)), 3e-4),
        # beyond 64 segments sums are in fp16, as in rows
        (Plan(256, Split(4, 1)), 6e-4),
        (Plan(256, Split(4, 4)), 6e-4),
    ],
    ids=str,
)
def test_residues_are_those_of_the_formula(plan: Plan, bound: float, emulate: Emulate) -> None:
    emulate(split_passes)
    segments, half = plan.segments, plan.half
    # a signal, whose 16 bits are not rounded on the way in
    h = torch.randn(1, plan.points * segments).half().float()
    planes = torch.empty(segments, plan.points, dtype=torch.int32)
    loudness = split_passes.taking_apart(plan, h[None], None, is_filter=True)(planes, 0, 1)
    scale = loudness[0, :, 1].double().repeat_interleave(WIDTH).view(1, -1, half, 1)
    # (residue, pair of halves, real or imaginary part, column, half)
    words = _in_order(plan, planes).view(torch.float16).view(segments, -1, 2, half, 2).double()
    found = torch.complex(words[:, :, 0] * scale, words[:, :, 1] * scale).mT.reshape(segments, -1)
    s = torch.arange(segments).double()
    turns = torch.exp(-2j * torch.pi * s * (s[:, None] + 0.25) / segments)
    wanted = turns @ h.view(segments, -1).to(torch.complex128)
    assert (found - wanted).norm() < bound * wanted.norm()
    most = torch.maximum(found.real.abs(), found.imag.abs()).amax()
    assert loudness[0, :, 0].amax() == most.float()
    # and back, here without scales of their own
    planes.copy_(_in_order(plan, (words * scale[:, :, None]).half().view(segments, -1).view(torch.int32)))
    back = torch.empty_like(h)
    split_passes.summing(plan, back, 1)(planes, torch.ones(segments), 0, 1)
    assert relative_rms_error(back, h) < bound


@pytest.mark.parametrize("plan", [Plan(28, Split(4, 4, 2)), Plan(256, Split(4, 1))], ids=str)
@pytest.mark.parametrize(
    "n_missing", [0, 1001]
)  # tokens that the last segment lacks; loaded one by one if odd
def test_gates_before_and_after_on_the_cpu(plan: Plan, n_missing: int, emulate: Emulate) -> None:
    emulate(split_passes)
    seqlen = plan.points * plan.segments - n_missing
    u, pre, post, other = (torch.randn(1, 1, seqlen).half() for _ in range(4))
    planes = torch.empty(plan.segments, plan.points, dtype=torch.int32)
    loudness = split_passes.taking_apart(plan, u, pre)(planes, 0, 1)
    columns = 16 * plan.split.points
    scale = loudness[0, :, 1].repeat_interleave(WIDTH).view(1, -1, 1, columns, 1)
    words = planes.view(torch.float16).view(plan.segments, -1, 2, columns, 2)
    words.copy_(words.float() * scale)
    y, second = torch.empty_like(u), torch.empty_like(u)
    split_passes.putting_together(plan, y, post, second, other)(planes, torch.ones(plan.segments), 0, 1)
    assert relative_rms_error(y, u.double() * pre * post) < 1e-3
    assert relative_rms_error(second, u.double() * pre * other) < 1e-3
    # of rows of zeros scales can be too small to have an inverse
    put_together = split_passes.putting_together(plan, y)
    put_together(torch.zeros_like(planes), torch.full((plan.segments,), 1e-42), 0, 1)
    assert not y.any()


def test_zeros_and_loud_tokens_on_the_cpu(emulate: Emulate, monkeypatch: pytest.MonkeyPatch) -> None:
    size = _use(SMALL, emulate, monkeypatch)
    _check_zeros(size, "cpu")
    _check_loud_token(size, "cpu")
    _check_quiet_rows(size, "cpu")


def test_a_row_is_the_same_alone_and_in_any_group_on_the_cpu(
    emulate: Emulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = _use(SMALL, emulate, monkeypatch)
    case = make_case((2, 3, size, 17), torch.bfloat16, gates=False)
    u, dy, skip = case["u"], case["dy"], case["skip"]
    prepared = spectrum(case["h"], size)
    together = convolve(u, prepared, skip)
    assert torch.equal(convolve(u[1:], prepared, skip), together[1:])
    gradients = backward(u, dy, prepared, skip, 17)
    assert torch.equal(backward(u[1:], dy[1:], prepared, skip, 17).u, gradients.u[1:])
    # two channels at once of one row, one of two
    monkeypatch.setattr(split_passes, "GROUP_BYTES", 2 * 4 * size)
    assert torch.equal(spectrum(case["h"], size), prepared)
    assert torch.equal(convolve(u, prepared, skip), together)
    again = backward(u, dy, prepared, skip, 17)
    assert torch.equal(again.u, gradients.u)
    assert torch.equal(again.h, gradients.h)


def test_plans_hold_their_rows_at_little_cost() -> None:
    for seqlen in (300_000, 450_000, 524_288, 600_001, 1 << 20, 1_500_000, 1 << 21, 3_000_000, 1 << 22):
        plan = plan_for(seqlen)
        size = plan.points * plan.segments
        assert seqlen <= size <= 1.15 * seqlen
        assert plan.segments in SEGMENTS
    with pytest.raises(ValueError, match="can be split"):
        plan_for((1 << 22) + 1)


def test_a_spectrum_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="prepare it by spectrum"):
        convolve(torch.zeros(1, 1, 300_000, dtype=torch.bfloat16), torch.zeros(5, 4, dtype=torch.int32), None)


def test_it_says_what_it_cannot_take() -> None:
    h, skip = torch.zeros(1, 8), torch.zeros(1)
    for seqlen, said in (
        (16_384, "not between 16385 and 4194304"),
        (65_536, "clusters take rows of 65536 tokens faster"),
        (40_000, "CPU"),
        (300_000, "CPU"),
    ):
        u = torch.zeros(1, 1, seqlen, dtype=torch.bfloat16)
        with pytest.raises(ValueError, match=said):
            fftconv(u, h, skip, backend="cuda_split")
    assert choose("fftconv", "auto", u, h, skip, None, None, False).name == "torch_fft"


def test_it_comes_first_where_it_is_faster() -> None:
    priorities = {backend.name: backend.priority for backend in implementations("fftconv")}
    assert (
        priorities["cuda_split"]
        > priorities["cuda_cluster"]
        > priorities["cuda_phased"]
        > priorities["torch_fft"]
    )
    # where a block has a row to itself no clusters are needed
    lengths = 20_000, 300_000, 1 << 20, 1_500_000, 1 << 21, 1 << 22
    assert [split_cuda.oldest_capability(n)[0] for n in lengths] == [8, 8, 8, 9, 8, 8]


LENGTHS = [20_000, 70_000, 160_000, 300_000, 450_000, 524_288, 1_048_576, 2_097_152, 4_194_304]


@pytest.mark.gpu
@pytest.mark.usefixtures("clusters")
class TestOnAGpu:
    @pytest.mark.parametrize("gates", [False, True], ids=["plain", "gated"])
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    @pytest.mark.parametrize("seqlen", LENGTHS)
    def test_output_and_gradients(self, seqlen: int, dtype: torch.dtype, gates: bool) -> None:
        for batch, filter_len in ((1, seqlen), (2, seqlen // 3)):
            _check(make_case((batch, 3, seqlen, filter_len), dtype, "cuda", gates=gates))

    @pytest.mark.parametrize("seqlen", [65_537, 131_073, 262_145, 1_000_001, 1_500_001, 3_000_001])
    def test_odd_lengths(self, seqlen: int) -> None:
        for batch in (1, 3):
            _check(make_case((batch, 2, seqlen, seqlen), torch.bfloat16, "cuda"))

    @pytest.mark.parametrize("seqlen", LENGTHS)
    def test_a_row_is_the_same_each_time_alone_and_in_a_batch(self, seqlen: int) -> None:
        channels = 1 + (1 << 25) // seqlen
        _check_batch_invariance(make_case((2, channels, seqlen, seqlen), torch.bfloat16, "cuda", gates=False))

    @pytest.mark.parametrize("seqlen", [160_000, 1_048_576, 1_500_000, 2_097_152, 4_194_304])
    def test_results_are_the_same_each_time(self, seqlen: int) -> None:
        case = make_case((1, (1 << 27) // seqlen, seqlen, seqlen), torch.bfloat16, "cuda")
        u, dy, h, skip, *gates = (case[name] for name in ("u", "dy", "h", "skip", "pre_gate", "post_gate"))
        prepared = spectrum(h, seqlen)
        check_repeats(
            lambda: (spectrum(h, seqlen), convolve(u, prepared, skip), filter_gradient(u, dy, seqlen))
        )
        if split_cuda.takes_filter(u):
            check_repeats(lambda: convolve_with(u, h, skip, *gates)[:1])
        check_repeats(lambda: (x for x in backward(u, dy, prepared, skip, seqlen, *gates) if x is not None))

    @pytest.mark.parametrize("seqlen", LENGTHS)
    def test_zeros_and_a_loud_token(self, seqlen: int) -> None:
        _check_zeros(seqlen, "cuda")
        _check_loud_token(seqlen, "cuda")
        _check_quiet_rows(seqlen, "cuda")

    def test_the_face_takes_it_by_name(self) -> None:
        case = make_case((1, 2, 300_000, 300_000), torch.bfloat16, "cuda")
        check_autograd(case, partial(fftconv, backend="cuda_split"))
