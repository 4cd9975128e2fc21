"""Every backend and peer that is present, at every case: checked against float64, then timed.

Rows have the form that `docs/benchmarks/kernels-h200.json` holds. A call that cannot be made becomes a row without
``ms``: ``skipped`` holds the reason where a backend does not serve it or would take too long, ``error`` where it
failed or gave a wrong result.
"""

import gc
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from genomix_kernels.bench.backends import Call, why_not_served
from genomix_kernels.bench.cases import MODES, Case, RequestError, list_cases
from genomix_kernels.bench.check import Check, Expected, check, expect, poisoned_memory
from genomix_kernels.bench.contenders import Contender, find_contenders
from genomix_kernels.bench.floors import floor_bytes, floor_ms
from genomix_kernels.bench.inputs import make_inputs
from genomix_kernels.bench.timing import MEASURE_MS, Timing, copy_rate, time_call

Row = dict[str, Any]
BASELINE = "torch_fft"
"""The backend of our own that is torch.fft and nothing else; rows are compared with it as with peers."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What all contenders of a case share."""

    inputs: Mapping[str, Tensor]
    dy: Tensor
    expected: Expected


def measure_kernels(
    ops: Sequence[str],
    *,
    lengths: Sequence[int] | None = None,
    dtype: str = "bf16",
    device: str = "cuda",
    quick: bool = False,
    backends: Sequence[str] | None = None,
    budget_ms: float = MEASURE_MS,
    say: Callable[[str], object] = lambda message: None,
) -> dict[str, Any]:
    """Return ``meta`` and ``rows``, as JSON values.

    Args:
        ops: Of `genomix_kernels.bench.cases.OPERATIONS`.
        lengths: Tokens of a sequence, instead of those of the list of cases.
        dtype: ``bf16``, ``fp16`` or ``fp32``.
        device: ``cuda``, ``cuda:1`` or ``cpu``.
        quick: Small cases, for a CPU.
        backends: Names of the backends and peers to measure; all if None.
        budget_ms: About how long the measured calls of a row may take together.
        say: Called with a line as each row is done.

    Raises:
        RequestError: if something that was asked for does not exist here.
    """
    cases = list_cases(ops, lengths=lengths, dtype=dtype, quick=quick)
    _check_device(device)
    contenders, absent = find_contenders(ops, device, backends)
    for name, reason in absent.items():
        say(f"{name}: not measured, {reason}")
    started = time.perf_counter()
    copy_gb_s = copy_rate(device)
    say(f"copy: {copy_gb_s:,.0f} GB/s")
    rows: list[Row] = []
    for case in cases:
        rows += _measure_case(case, contenders[case.op], device, copy_gb_s, budget_ms, say)
    seconds = round(time.perf_counter() - started, 1)
    measured = {"copy_gb_s": _digits(copy_gb_s), "seconds": seconds, "absent": absent}
    return {"meta": {**_describe_machine(device), **measured}, "rows": rows}


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise RequestError(f"unknown device {device!r}; give cpu, cuda or cuda:NUMBER.") from error
    if kind not in ("cpu", "cuda"):
        raise RequestError(f"device {device!r} cannot be measured; give cpu, cuda or cuda:NUMBER.")
    if kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise RequestError(f"device {device!r} is not there; give --device cpu or see `genomix doctor`.")


def _measure_case(
    case: Case,
    contenders: Sequence[Contender],
    device: str,
    copy_gb_s: float,
    budget_ms: float,
    say: Callable[[str], object],
) -> list[Row]:
    able = [each for each in contenders if each.why_not(case) is None]
    try:
        prepared = _prepare(case, device) if able else None
        failure = None
    except Exception as error:  # noqa: BLE001 (out of memory, most likely: the run goes on with the next case)
        prepared, failure = None, f"inputs or float64 reference: {_one_line(error)}"
        _free_memory(device)
    rows = []
    for mode in MODES:
        of_mode = []
        for contender in contenders:
            row = _empty_row(case, mode, contender, floor_ms(case, mode, copy_gb_s))
            if (reason := contender.why_not(case)) is not None:
                row["skipped"] = reason
            elif prepared is None:
                row["error"] = failure
            else:
                _measure(row, case, mode, contender, prepared, device, budget_ms)
            say(f"{case} {_summary(row)}")
            of_mode.append(row)
        _compare(of_mode)
        rows += of_mode
    del prepared
    _free_memory(device)
    return rows


def _prepare(case: Case, device: str) -> _Prepared:
    inputs = make_inputs(case, device)
    generator = torch.Generator(device=device).manual_seed(1)
    shape = (case.batch, case.channels, case.seqlen)
    dy = torch.randn(shape, generator=generator, device=device, dtype=case.torch_dtype)
    return _Prepared(inputs, dy, expect(case, inputs, dy))


def _measure(
    row: Row,
    case: Case,
    mode: str,
    contender: Contender,
    prepared: _Prepared,
    device: str,
    budget_ms: float,
) -> None:
    """Fill in a row: first the check, then, unless the result is wrong, the time."""
    try:
        run = _pass_of(contender.call_for(case), mode, prepared)
        if contender.is_peer:
            checked = check(case, prepared.expected, run())
        else:
            with poisoned_memory():
                result = run()
            checked = check(case, prepared.expected, result)
            del result
        _enter_check(row, checked)
        if checked.wrong is None:
            working_set = floor_bytes(case, mode)
            _enter_timing(row, time_call(run, device, working_set=working_set, budget_ms=budget_ms))
    except Exception as error:  # noqa: BLE001 (a backend or peer may raise anything; the run goes on, the row says what)
        reason = why_not_served(error) if isinstance(error, ValueError) else None
        row["skipped" if reason else "error"] = reason or _one_line(error)
    if row["error"]:
        _free_memory(device)


def _pass_of(call: Call, mode: str, prepared: _Prepared) -> Callable[[], dict[str, Tensor]]:
    """Return a function that runs forward, or forward and backward, and returns the results by name."""
    if mode == "fwd":

        @torch.no_grad()
        def forward() -> dict[str, Tensor]:
            return {"y": call(prepared.inputs)}

        return forward
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in prepared.inputs.items()}

    def forward_and_backward() -> dict[str, Tensor]:
        y = call(leaves)
        gradients = torch.autograd.grad(y, list(leaves.values()), prepared.dy)
        named = {f"d{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
        return {"y": y, **named}

    return forward_and_backward


def _empty_row(case: Case, mode: str, contender: Contender, floor: float) -> Row:
    return {
        "op": case.op,
        "variant": case.variant,
        "mode": mode,
        "gated": case.is_gated,
        "B": case.batch,
        "D": case.channels,
        "L": case.seqlen,
        "K": case.filter_len,
        "groups": case.n_groups,
        "modes": case.n_modes,
        "dtype": case.dtype,
        "backend": contender.name,
        "is_peer": contender.is_peer,
        "ms": None,
        "floor_ms": _digits(floor),
        "x_floor": None,
        "rel_err": None,
        "err_over_rounding": None,
        "worst": None,
        "errors": None,
        "is_within_tolerance": None,
        "peak_mb": None,
        "host_ms": None,
        "repeats": None,
        "times_faster_than": None,
        "skipped": None,
        "error": None,
    }


def _enter_check(row: Row, checked: Check) -> None:
    row["rel_err"] = _digits(checked.rel_err)
    row["err_over_rounding"] = _digits(checked.err_over_rounding)
    row["worst"] = checked.worst
    row["errors"] = {name: _digits(error) for name, error in checked.errors.items()}
    row["is_within_tolerance"] = checked.is_within_tolerance
    row["error"] = checked.wrong


def _enter_timing(row: Row, timing: Timing) -> None:
    row["ms"] = _digits(timing.ms)
    row["x_floor"] = _digits(timing.ms / row["floor_ms"])
    row["repeats"] = timing.repeats
    row["host_ms"] = None if timing.host_ms is None else _digits(timing.host_ms)
    row["peak_mb"] = None if timing.peak_mb is None else round(timing.peak_mb, 1)


def _compare(rows: Sequence[Row]) -> None:
    """Enter in our rows how many times faster they are than each peer, and than plain torch.fft."""
    others = {
        row["backend"]: row["ms"]
        for row in rows
        if row["ms"] and (row["is_peer"] or row["backend"] == BASELINE)
    }
    for row in rows:
        if row["ms"] and not row["is_peer"]:
            row["times_faster_than"] = {
                name: _digits(ms / row["ms"]) for name, ms in others.items() if name != row["backend"]
            }


def _describe_machine(device: str) -> dict[str, Any]:
    is_cuda = torch.device(device).type == "cuda"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "gpu": torch.cuda.get_device_name(device) if is_cuda else None,
        "torch": torch.__version__,
        "triton": _version("triton"),
        "cuda": torch.version.cuda,
        "commit": None,
        "command": shlex.join(sys.argv),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _free_memory(device: str) -> None:
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()


def _summary(row: Row) -> str:
    what = f"{row['mode']} {row['backend']}"
    if row["skipped"] or row["error"]:
        return f"{what}: {'skipped' if row['skipped'] else 'FAILED'}, {row['skipped'] or row['error']}"
    return f"{what}: {row['ms']:.4g} ms, {row['x_floor']:.2f} x floor, error {row['rel_err']:.2g}"


def _one_line(error: Exception) -> str:
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:300]}"


def _digits(value: float) -> float | None:
    """Return four significant digits; None for what JSON has no word for."""
    return float(f"{value:.4g}") if isfinite(value) else None
