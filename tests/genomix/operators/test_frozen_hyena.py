"""A Hyena operator whose filters are not trained: nothing of them is computed twice, and no number changes."""

from typing import Any

import pytest
import torch

from genomix.operators.hyena import HyenaOperator
from genomix.operators.implicit_filter import ImplicitFilter


def operator(**options: Any) -> HyenaOperator:
    torch.manual_seed(0)
    return HyenaOperator(8, 64, **options)


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often filters were evaluated."""
    calls: list[int] = []
    forward = ImplicitFilter.forward

    def counting(self: ImplicitFilter, length: int, start: int = 0) -> torch.Tensor:
        calls.append(length)
        return forward(self, length, start)

    monkeypatch.setattr(ImplicitFilter, "forward", counting)
    return calls


@pytest.mark.parametrize("options", [{}, {"order": 3}, {"order": 3, "channel_layout": "standalone"}], ids=str)
def test_frozen_filters_are_evaluated_once_in_training_too(
    options: dict[str, Any], evaluated: list[int]
) -> None:
    mixer = operator(**options)
    x = torch.randn(2, 50, 8)
    gradients = []
    for is_frozen in (False, True):
        mixer.filter_fn.implicit_filter.requires_grad_(not is_frozen)
        evaluated.clear()
        for _ in range(3):
            mixer.zero_grad()
            y = mixer(x)
            y.square().sum().backward()
        assert len(evaluated) == (1 if is_frozen else 3)
        gradients.append({name: p.grad.clone() for name, p in mixer.named_parameters() if p.grad is not None})
    trained, frozen = gradients
    assert trained.keys() - frozen.keys() == {name for name in trained if "implicit_filter." in name}
    for name, gradient in frozen.items():
        # a kept filter is the start of a longer evaluation, which a product of matrices may sum in another order
        torch.testing.assert_close(gradient, trained[name], atol=1e-6, rtol=1e-5)


def test_inference_is_what_training_sees(evaluated: list[int]) -> None:
    mixer = operator()
    x = torch.randn(2, 50, 8)
    expected = mixer(x)
    evaluated.clear()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            for _ in range(2):
                assert torch.equal(mixer(x), expected)
    assert len(evaluated) == 1


def test_a_step_of_training_makes_new_filters() -> None:
    mixer = operator()
    x = torch.randn(2, 50, 8)
    with torch.no_grad():
        before = mixer(x)
    optimizer = torch.optim.SGD(mixer.parameters(), lr=0.1)
    mixer(x).square().sum().backward()
    optimizer.step()
    with torch.no_grad():
        after = mixer(x)
    assert not torch.equal(before, after)
    assert torch.equal(after, mixer(x).detach())
