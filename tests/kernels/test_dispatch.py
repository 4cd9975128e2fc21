import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genomix_kernels import dispatch as module
from genomix_kernels.dispatch import choose, dispatch, implementations, register


@pytest.fixture
def doubling(monkeypatch: pytest.MonkeyPatch) -> str:
    """Register an operation with a reference and a backend that serves even lengths only."""
    monkeypatch.delenv(module.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(module, "_REGISTRY", {})
    monkeypatch.setattr(module, "_ALREADY_LOGGED", set())

    def load(factor: float) -> Callable[[], Callable[[Tensor], Tensor]]:
        return lambda: lambda x: factor * x

    register("double", "reference", priority=0, load=load(2.0))
    register(
        "double", "fast", priority=10, load=load(2.5), supports=lambda x: "odd length" if len(x) % 2 else None
    )
    return "double"


def test_the_highest_priority_that_can_serve_is_taken(doubling: str) -> None:
    assert [backend.name for backend in implementations(doubling)] == ["fast", "reference"]
    assert dispatch(doubling, "auto", torch.ones(2)).tolist() == [2.5, 2.5]
    assert dispatch(doubling, "auto", torch.ones(1)).tolist() == [2.0]


def test_a_named_backend_serves_or_says_why_not(doubling: str) -> None:
    assert dispatch(doubling, "reference", torch.ones(2)).tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match=r"no backend can serve this call of double: fast: odd length\."):
        dispatch(doubling, "fast", torch.ones(1))
    with pytest.raises(
        ValueError, match=r"backend 'cuda' does not exist for double; it has fast, reference, or 'auto'"
    ):
        dispatch(doubling, "cuda", torch.ones(1))


def test_the_environment_replaces_auto_only(doubling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENOMIX_KERNELS", "reference")
    assert choose(doubling, "auto", torch.ones(2)).name == "reference"
    assert choose(doubling, "fast", torch.ones(2)).name == "fast"
    monkeypatch.setenv("GENOMIX_KERNELS", "fast")
    with pytest.raises(ValueError, match="fast: odd length"):
        choose(doubling, "auto", torch.ones(1))
    monkeypatch.setenv("GENOMIX_KERNELS", "triton, fast, reference")
    assert choose(doubling, "auto", torch.ones(1)).name == "reference"
    monkeypatch.setenv("GENOMIX_KERNELS", "tritn")
    with pytest.raises(ValueError, match=r"backend 'tritn' \(from GENOMIX_KERNELS\) does not exist"):
        choose(doubling, "auto", torch.ones(1))


def test_a_choice_is_logged_once_with_what_was_passed_over(
    doubling: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="genomix_kernels.dispatch")
    for _ in range(3):
        dispatch(doubling, "auto", torch.ones(1))
    assert caplog.messages == ["double: reference (passed over: fast: odd length)"]


def test_a_broken_backend_raises_instead_of_being_passed_over(doubling: str) -> None:
    def load() -> Callable[..., Tensor]:
        raise ImportError("libfast.so: undefined symbol")

    register(doubling, "broken", priority=20, load=load)
    with pytest.raises(ImportError, match="undefined symbol"):
        dispatch(doubling, "auto", torch.ones(2))


def test_names_are_unique_and_operations_known(doubling: str) -> None:
    with pytest.raises(ValueError, match="operation 'double' already has a backend 'fast'"):
        register(doubling, "fast", priority=1, load=lambda: torch.neg)
    with pytest.raises(ValueError, match="unknown operation 'halve'; registered are double"):
        dispatch("halve", "auto")
