"""Which implementation serves a call: each operation has named backends, and the best one that can serve is taken.

A backend registers under an operation with a priority and a ``supports`` question. ``"auto"`` takes the backend of
highest priority whose ``supports`` answers None; any other name serves, or raises with the reason that it cannot.
The environment variable ``GENOMIX_KERNELS`` holds one name, or several separated by commas in order of preference, and
replaces ``"auto"`` everywhere (``GENOMIX_KERNELS=reference`` for the plain formulas).

A backend whose package is absent says so through ``supports``. A package that is there but fails to import raises:
a broken installation should be seen, not worked around.
"""

import importlib
import logging
import os
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import genomix_kernels

logger = logging.getLogger(__name__)

Backend = str
ENVIRONMENT_VARIABLE = "GENOMIX_KERNELS"


@dataclass(frozen=True, slots=True)
class Implementation:
    """One way to compute an operation."""

    operation: str
    name: str
    priority: int
    supports: Callable[..., str | None]
    load: Callable[[], Callable[..., Any]]
    why_unavailable: Callable[[], str | None]

    @property
    def unavailable(self) -> str | None:
        """Why this machine cannot use the backend, or None; whether it serves a given call is for `supports` to say."""
        return self.why_unavailable()


_REGISTRY: dict[str, dict[str, Implementation]] = {}
_ALREADY_LOGGED: set[tuple[str, str, str]] = set()


def register(
    operation: str,
    name: str,
    *,
    priority: int,
    load: Callable[[], Callable[..., Any]],
    supports: Callable[..., str | None] | None = None,
    why_unavailable: Callable[[], str | None] | None = None,
) -> None:
    """Add a backend to an operation.

    Args:
        operation: Name of the operation, ``"fftconv"``.
        name: Name of the backend, unique within the operation.
        priority: ``"auto"`` asks higher numbers first; the reference has 0.
        load: Returns the function that computes; called when the backend is first used, so heavy imports wait there.
        supports: Called with the arguments of a call; None, or the reason that this backend cannot serve them.
        why_unavailable: Called without arguments; None, or what this machine lacks for it (a package, a device).

    Raises:
        ValueError: if the operation already has a backend of this name.
    """
    backends = _REGISTRY.setdefault(operation, {})
    if name in backends:
        raise ValueError(f"operation {operation!r} already has a backend {name!r}; names are unique.")
    backends[name] = Implementation(
        operation, name, priority, supports or _supports_all, load, why_unavailable or _supports_all
    )


def operations() -> tuple[str, ...]:
    """Return the names of all operations of this package, in alphabetical order."""
    for module in pkgutil.iter_modules(genomix_kernels.__path__):
        if module.ispkg and module.name != "bench":
            importlib.import_module(f"genomix_kernels.{module.name}")
    return tuple(sorted(_REGISTRY))


def implementations(operation: str) -> tuple[Implementation, ...]:
    """Return the backends of an operation, highest priority first.

    Raises:
        ValueError: if nothing is registered under this operation.
    """
    if operation not in _REGISTRY:
        raise ValueError(f"unknown operation {operation!r}; registered are {', '.join(sorted(_REGISTRY))}.")
    return tuple(sorted(_REGISTRY[operation].values(), key=lambda backend: -backend.priority))


def choose(operation: str, backend: Backend, *args: object, **kwargs: object) -> Implementation:
    """Return the backend that serves this call, and log an automatic choice the first time it is made.

    Raises:
        ValueError: if the backend is unknown, or none of those allowed can serve these arguments.
    """
    candidates = implementations(operation)
    wanted = os.environ.get(ENVIRONMENT_VARIABLE, "auto") if backend == "auto" else backend
    if wanted not in ("", "auto"):
        candidates = _named(candidates, operation, wanted, from_environment=backend == "auto")
    reasons: list[str] = []
    for candidate in candidates:
        reason = candidate.supports(*args, **kwargs)
        if reason is None:
            _log_once(candidate, reasons)
            return candidate
        reasons.append(f"{candidate.name}: {reason}")
    raise ValueError(f"no backend can serve this call of {operation}: {'; '.join(reasons)}.")


def dispatch(operation: str, backend: Backend, *args: object, **kwargs: object) -> Any:
    """Return the result of the operation (a tensor, or a tuple of them), computed by the chosen backend."""
    return choose(operation, backend, *args, **kwargs).load()(*args, **kwargs)


def _named(
    candidates: tuple[Implementation, ...], operation: str, wanted: str, *, from_environment: bool
) -> tuple[Implementation, ...]:
    by_name = {candidate.name: candidate for candidate in candidates}
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    found = tuple(by_name[name] for name in names if name in by_name)
    if not found:
        source = f" (from {ENVIRONMENT_VARIABLE})" if from_environment else ""
        raise ValueError(
            f"backend {wanted!r}{source} does not exist for {operation}; it has {', '.join(by_name)}, or 'auto'."
        )
    return found


def _supports_all(*_args: object, **_kwargs: object) -> str | None:
    return None


def _log_once(chosen: Implementation, reasons: list[str]) -> None:
    passed_over = "; ".join(reasons)
    key = (chosen.operation, chosen.name, passed_over)
    if key in _ALREADY_LOGGED:
        return
    _ALREADY_LOGGED.add(key)
    logger.info(
        "%s: %s%s", chosen.operation, chosen.name, f" (passed over: {passed_over})" if passed_over else ""
    )
