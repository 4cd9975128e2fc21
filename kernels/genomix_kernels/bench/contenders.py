"""Who takes part: our backends that this machine can use, and the peers that are installed."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from genomix_kernels.bench.backends import Call, own_call, why_slow
from genomix_kernels.bench.cases import Case, RequestError
from genomix_kernels.bench.peers import Peer, peers
from genomix_kernels.dispatch import Implementation, implementations

_ADAPTERS = ("flash_fft_conv",)
"""Backends that call another library's kernels: they are measured as peers."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to compute an operation, ours or another's.

    Args:
        name: As result files have it.
        is_peer: Whether it is another library's.
        call_for: A case to a function of its inputs that returns ``y``.
        why_not: None, or why a case is left out.
    """

    name: str
    is_peer: bool
    call_for: Callable[[Case], Call]
    why_not: Callable[[Case], str | None]


def find_contenders(
    ops: Sequence[str], device: str, names: Sequence[str] | None
) -> tuple[dict[str, list[Contender]], dict[str, str]]:
    """Return who computes each operation here, and why others cannot (``operation/name`` or a peer's name to reason).

    Args:
        ops: Operations.
        device: Where they will run.
        names: Only these backends and peers; all if None.

    Raises:
        RequestError: if a name belongs to no backend of these operations and to no peer.
    """
    own = {op: _registered(op) for op in ops}
    known = {each.name for backends in own.values() for each in backends} | {peer.name for peer in peers()}
    if names is not None and (unknown := [name for name in names if name not in known]):
        raise RequestError(f"unknown backend {unknown[0]!r}; there are {', '.join(sorted(known))}.")
    found: dict[str, list[Contender]] = {}
    absent: dict[str, str] = {}
    for op, backends in own.items():
        found[op] = []
        for backend in backends:
            if names is not None and backend.name not in names:
                continue
            if (reason := backend.unavailable) is not None:
                absent[f"{op}/{backend.name}"] = reason
            else:
                found[op].append(_ours(backend))
    for peer in peers():
        if names is not None and peer.name not in names:
            continue
        if (reason := peer.why_unavailable(device)) is not None:
            absent[peer.name] = reason
            continue
        for op in found:
            if op in peer.calls:
                found[op].append(_theirs(peer, op))
    return found, absent


def _registered(op: str) -> tuple[Implementation, ...]:
    # not through dispatch.operations(), which would import the operations that are not measured as well
    importlib.import_module(f"genomix_kernels.{op}")
    return implementations(op)


def _ours(backend: Implementation) -> Contender:
    return Contender(
        backend.name,
        backend.name in _ADAPTERS,
        partial(own_call, backend=backend.name),
        partial(why_slow, backend=backend),
    )


def _theirs(peer: Peer, op: str) -> Contender:
    return Contender(peer.name, True, lambda case: partial(peer.calls[op], case), peer.supports)
