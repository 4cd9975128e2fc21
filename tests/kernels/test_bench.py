"""`genomix_kernels.bench`: floors, the check against float64, and the rows of a real run on small shapes."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from genomix_kernels import dispatch
from genomix_kernels.bench import RequestError, measure_kernels, run
from genomix_kernels.bench.backends import why_slow
from genomix_kernels.bench.cases import DTYPES, OPERATIONS, Case, list_cases
from genomix_kernels.bench.check import check, expect
from genomix_kernels.bench.floors import floor_ms
from genomix_kernels.bench.inputs import make_inputs
from genomix_kernels.bench.peers import peers
from genomix_kernels.bench.timing import copy_rate, time_call
from genomix_kernels.causal_fir import reference
from genomix_kernels.causal_fir.gated import gated
from genomix_kernels.dispatch import Implementation
from genomix_kernels.testing import TOLERANCE

# the form of docs/benchmarks/kernels-h200.json, which the docs page reads
RESULT_KEYS = [
    "op",
    "variant",
    "mode",
    "gated",
    "B",
    "D",
    "L",
    "K",
    "groups",
    "dtype",
    "backend",
    "ms",
    "floor_ms",
    "x_floor",
    "rel_err",
    "peak_mb",
]
META_KEYS = ["date", "gpu", "torch", "triton", "cuda", "commit", "command", "copy_gb_s"]

causal_fir_reference = gated(reference.causal_fir_reference, is_precise=True)

H200_GB_S = 4260.0
MILLION = 1 << 20


def long_case(seqlen: int, **changes: Any) -> Case:
    return Case(op="fftconv", channels=256, batch=max(1, MILLION // seqlen), seqlen=seqlen, **changes)


MODAL = Case(op="modal_conv", channels=4096, seqlen=65_536, n_modes=16)
HYENA = Case(op="hyena_gated", variant="li", is_gated=True, channels=4096, seqlen=65_536, n_modes=16)

# as measured with other libraries on an H200, from the fewest bytes at its copy rate
FLOORS = [
    (long_case(1024), "fwd", 0.25),
    (long_case(1024), "fwdbwd", 0.63),
    (long_case(65_536), "fwd", 0.26),
    (long_case(262_144), "fwd", 0.28),
    (long_case(MILLION), "fwd", 0.38),
    (long_case(2 * MILLION), "fwd", 0.76),
    (MODAL, "fwd", 0.25),
    (replace(MODAL, seqlen=8192), "fwd", 0.031),
    (replace(MODAL, seqlen=262_144), "fwd", 1.0),
    (replace(MODAL, seqlen=MILLION), "fwd", 4.0),
    (replace(MODAL, seqlen=MILLION, is_gated=True), "fwd", 8.0),
    (Case(op="causal_fir", channels=4096, seqlen=65_536, filter_len=7), "fwdbwd", 0.63),
    (HYENA, "fwd", 0.50),
    (HYENA, "fwdbwd", 1.39),
]


@pytest.mark.parametrize(("case", "mode", "expected"), FLOORS, ids=str)
def test_floors_are_those_of_the_anchors(case: Case, mode: str, expected: float) -> None:
    assert floor_ms(case, mode, H200_GB_S) == pytest.approx(expected, rel=0.03)


def test_a_gated_backward_pass_moves_the_gates_too() -> None:
    fir = Case(op="causal_fir", channels=4, seqlen=10, filter_len=3, dtype="fp32")
    per_element = [
        floor_ms(case, mode, 1.0) * 1e6 / (40 * 4)
        for case in (fir, replace(fir, is_gated=True))
        for mode in ("fwd", "fwdbwd")
    ]
    # u, y | and dy, u, du | u, two gates, y | and dy, those three, their gradients
    assert per_element == pytest.approx([2, 5, 4, 11])


def test_the_full_list_holds_the_anchors() -> None:
    cases = list_cases(OPERATIONS)
    assert {MODAL, replace(MODAL, seqlen=MILLION), HYENA, long_case(1024), long_case(4 * MILLION)} <= set(
        cases
    )
    assert Case(op="fftconv", channels=256, batch=2, seqlen=450_000) in cases
    assert len(set(cases)) == len(cases)
    assert {case.seqlen for case in list_cases(OPERATIONS, lengths=[77])} == {77}


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("op", OPERATIONS)
def test_every_backend_here_is_measured_and_right(op: str, dtype: str, device: str) -> None:
    said: list[str] = []
    result = measure_kernels(
        [op], lengths=[64], dtype=dtype, device=device, quick=True, budget_ms=1.0, say=said.append
    )
    json.dumps(result, allow_nan=False)
    assert set(META_KEYS) <= set(result["meta"])
    assert result["meta"]["copy_gb_s"] > 0
    rows = result["rows"]
    assert {row["mode"] for row in rows} == {"fwd", "fwdbwd"}
    assert [row["error"] for row in rows if row["error"] and not row["is_peer"]] == []
    timed = [row for row in rows if row["ms"] is not None]
    assert {"reference"} <= {row["backend"] for row in timed}
    for row in timed:
        assert set(RESULT_KEYS) <= set(row)
        assert row["x_floor"] == pytest.approx(row["ms"] / row["floor_ms"], rel=1e-3)
        names = {"y"} if row["mode"] == "fwd" else {"y", *(f"d{name}" for name in _inputs_of(row))}
        assert set(row["errors"]) == names
        assert row["rel_err"] == max(row["errors"].values())
        assert row["rel_err"] <= TOLERANCE[DTYPES[dtype]] or row["is_peer"]
        assert row["is_within_tolerance"] or row["is_peer"]
    for row in rows:
        assert (row["ms"] is None) == bool(row["skipped"] or row["error"])
    assert len(said) == 1 + len(result["meta"]["absent"]) + len(rows)


def _inputs_of(row: dict[str, Any]) -> set[str]:
    case = next(
        case
        for case in list_cases([row["op"]], lengths=[64], quick=True)
        if (case.variant, case.filter_len, case.is_gated) == (row["variant"], row["K"], row["gated"])
    )
    return set(make_inputs(case, "cpu"))


def test_our_rows_are_compared_with_torch_fft_and_the_peers() -> None:
    rows = measure_kernels(["fftconv", "modal_conv"], lengths=[16], device="cpu", quick=True, budget_ms=1.0)[
        "rows"
    ]
    by_name = {(row["op"], row["backend"]): row for row in rows if row["mode"] == "fwd" and not row["gated"]}
    fft, scan = by_name["modal_conv", "torch_fft"], by_name["modal_conv", "torch_chunked"]
    assert scan["times_faster_than"] == {"torch_fft": pytest.approx(fft["ms"] / scan["ms"], rel=1e-3)}
    assert fft["times_faster_than"] is None
    assert set(by_name["fftconv", "reference"]["times_faster_than"]) == {"torch_fft"}
    assert by_name["fftconv", "torch_fft"]["times_faster_than"] == {}


def test_lengths_shorter_than_the_filter() -> None:
    rows = measure_kernels(["causal_fir"], lengths=[1, 5], device="cpu", quick=True, budget_ms=1.0)["rows"]
    assert [row["error"] for row in rows if row["error"]] == []


def a_tenth_too_large(u: Tensor, taps: Tensor, *rest: Any, **options: Any) -> Tensor:
    return 1.1 * causal_fir_reference(u, taps, *rest, **options)


def the_last_block_unwritten(u: Tensor, taps: Tensor, *rest: Any, **options: Any) -> Tensor:
    y = torch.empty_like(u)
    y[..., :-3] = causal_fir_reference(u, taps, *rest, **options)[..., :-3]
    return y


def one_channel_unwritten(u: Tensor, taps: Tensor, *rest: Any, **options: Any) -> Tensor:
    y = causal_fir_reference(u, taps, *rest, **options)
    return y.index_fill(1, torch.tensor(2), torch.nan)


def taps_without_most_of_their_gradient(u: Tensor, taps: Tensor, *rest: Any, **options: Any) -> Tensor:
    half = taps.detach() / 2 + taps / 2
    return causal_fir_reference(u, half, *rest, **options)


def not_at_this_size(u: Tensor, taps: Tensor, *rest: Any, **options: Any) -> Tensor:
    raise RuntimeError("out of\n  memory")


WRONG: dict[str, tuple[Callable[..., Tensor], dict[str, str | None]]] = {
    "a tenth too large": (
        a_tenth_too_large,
        {"fwd": "relative RMS error of y", "fwdbwd": "relative RMS error of d"},
    ),
    "the last block unwritten": (the_last_block_unwritten, {"fwd": "y has NaN", "fwdbwd": "y has NaN"}),
    "one channel unwritten": (one_channel_unwritten, {"fwd": "y has NaN", "fwdbwd": "y has NaN"}),
    "half a gradient": (
        taps_without_most_of_their_gradient,
        {"fwd": None, "fwdbwd": "relative RMS error of dtaps is 0.5"},
    ),
    "raises": (
        not_at_this_size,
        {"fwd": "RuntimeError: out of memory", "fwdbwd": "RuntimeError: out of memory"},
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kernel_is_caught_and_not_timed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, errors = WRONG[name]
    enter(monkeypatch, kernel)
    rows = measure_kernels(
        ["causal_fir"], lengths=[50], device="cpu", quick=True, budget_ms=1.0, backends=["wrong"]
    )["rows"]
    rows = [row for row in rows if row["K"] == 3]
    assert [row["mode"] for row in rows] == ["fwd", "fwdbwd"]
    for row in rows:
        expected = errors[row["mode"]]
        if expected is None:
            assert row["error"] is None
            assert row["ms"] > 0
        else:
            assert row["error"].startswith(expected)
            assert row["ms"] is None


def enter(monkeypatch: pytest.MonkeyPatch, kernel: Callable[..., Tensor], reason: str | None = None) -> None:
    """Add a backend ``wrong`` to `causal_fir`, for one test."""
    backend = Implementation("causal_fir", "wrong", 1, lambda *_, **__: None, lambda: kernel, lambda: reason)
    monkeypatch.setitem(dispatch._REGISTRY["causal_fir"], "wrong", backend)


def test_what_this_machine_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, causal_fir_reference, "the moon is not full")
    said: list[str] = []
    result = measure_kernels(
        ["causal_fir"],
        lengths=[8],
        device="cpu",
        quick=True,
        budget_ms=1.0,
        backends=["wrong", "cudnn"],
        say=said.append,
    )
    assert result["rows"] == []
    assert result["meta"]["absent"] == {
        "causal_fir/wrong": "the moon is not full",
        "cudnn": "needs a CUDA device",
    }
    assert "causal_fir/wrong: not measured, the moon is not full" in said


def test_one_case_that_fails_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(case: Case, device: str) -> dict[str, Tensor]:
        if case.seqlen == 9:
            raise RuntimeError("out of memory")
        return make_inputs(case, device)

    monkeypatch.setattr(run, "make_inputs", make)
    rows = measure_kernels(
        ["fftconv"], lengths=[9, 10], device="cpu", quick=True, budget_ms=1.0, backends=["reference"]
    )["rows"]
    assert [(row["L"], row["ms"] is None, row["error"]) for row in rows] == [
        (9, True, "inputs or float64 reference: RuntimeError: out of memory"),
        (9, True, "inputs or float64 reference: RuntimeError: out of memory"),
        (10, False, None),
        (10, False, None),
    ]


def test_slow_backends_are_left_out_with_a_reason() -> None:
    def backend(name: str) -> Implementation:
        return Implementation("modal_conv", name, 0, lambda: None, lambda: print, lambda: None)

    fir = Case(op="causal_fir", channels=4096, seqlen=65_536, filter_len=3)
    assert why_slow(MODAL, backend("reference")) == "one step a token: too slow for 65,536 tokens"
    assert "one pass over memory a tap" in str(why_slow(fir, backend("reference")))
    assert why_slow(long_case(4 * MILLION), backend("reference")) is None
    assert why_slow(MODAL, backend("torch_chunked")) is None
    longer = replace(MODAL, seqlen=262_144)
    assert why_slow(longer, backend("torch_chunked")) == "plain torch is not measured above 65,536 tokens"
    assert why_slow(longer, backend("triton")) is None


REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({"ops": ["gemm"]}, "unknown operation 'gemm'; there are fftconv"),
    ({"dtype": "int8"}, "unknown dtype 'int8'; there are bf16"),
    ({"lengths": [0]}, r"lengths are \[0\]"),
    ({"lengths": []}, r"lengths are \[\]"),
    ({"device": "abacus"}, "unknown device 'abacus'"),
    ({"device": "meta"}, "device 'meta' cannot be measured"),
    ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
    ({"backends": ["torch_fft", "magic"]}, "unknown backend 'magic'; there are causal_conv1d, "),
]


@pytest.mark.parametrize(("request_", "message"), REQUESTS, ids=str)
def test_what_does_not_exist_is_named(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        measure_kernels(**{"ops": ["fftconv"], "device": "cpu", "quick": True, **request_})


def test_times_and_rates_are_positive(device: str) -> None:
    tensor = torch.ones(1000, device=device)
    timing = time_call(lambda: tensor + 1, device, working_set=8000, budget_ms=1.0)
    assert timing.ms > 0
    assert 3 <= timing.repeats <= 200
    assert (timing.peak_mb is None) == (device == "cpu")
    assert copy_rate(device) > 0


def conv1d(u: Tensor, weight: Tensor, *, flip: bool) -> Tensor:
    assert u.dtype == weight.dtype
    taps = weight.flip(-1) if flip else weight
    return F.conv1d(F.pad(u, (taps.shape[-1] - 1, 0)), taps[:, None], groups=u.shape[1])


def back_to_back(p: Tensor, projection: Tensor, mixer: Tensor, skip: Tensor) -> Tensor:
    z = conv1d(p, projection, flip=False)
    m = z[:, 1::3] * z[:, 2::3]
    return z[:, ::3] * (conv1d(m, mixer, flip=False) + skip[:, None] * m)


def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put modules in place that do what the peers' documentation says, tap order included."""
    short = lambda u, weight: conv1d(u, weight, flip=False)  # noqa: E731
    long = lambda u, weight: conv1d(u, weight, flip=True)  # noqa: E731
    functions = {"causal_conv1d": short, "fft_causal_conv1d": long, "b2b_causal_conv1d": back_to_back}
    contents: dict[str, dict[str, Any]] = {
        "causal_conv1d": {"causal_conv1d_fn": short},
        "subquadratic_ops_torch": {},
        "cudnn": {},
        "cudnn.ops": functions,
        **{f"subquadratic_ops_torch.{name}": {name: function} for name, function in functions.items()},
    }
    for name, members in contents.items():
        module = ModuleType(name)
        vars(module).update(members)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: ModuleType(name))


PEER_CASES = [
    *list_cases(["fftconv"], lengths=[128], quick=True),
    *list_cases(["modal_conv", "causal_fir", "hyena_gated"], lengths=[200], quick=True),
]


@pytest.mark.parametrize("case", PEER_CASES, ids=str)
def test_peers_are_called_as_they_document(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins(monkeypatch)
    inputs = make_inputs(case, "cpu")
    dy = torch.randn(case.batch, case.channels, case.seqlen).to(case.torch_dtype)
    expected = expect(case, inputs, dy)
    served = [peer for peer in peers() if case.op in peer.calls and peer.supports(case) is None]
    assert served or case.variant == "li"
    for peer in served:
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
        y = peer.calls[case.op](case, leaves)
        gradients = torch.autograd.grad(y, list(leaves.values()), dy)
        found = {f"d{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
        checked = check(case, expected, {"y": y, **found})
        assert checked.wrong is None, f"{peer.name}: {checked.wrong}"
        assert checked.rel_err < 0.02, peer.name


def test_shapes_that_peers_do_not_serve_have_a_reason() -> None:
    by_name = {peer.name: peer for peer in peers()}
    assert by_name["causal_conv1d"].supports(PEER_CASES[-1]) == "has 2 to 4 taps, not None"
    assert by_name["cudnn"].supports(HYENA) == "its fused operator has explicit taps, no modes"
