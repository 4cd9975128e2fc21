"""CUDA graphs launch the same kernels: the same losses and weights as without. One exists at a time."""

import gc
import warnings
from collections.abc import Callable, Iterator
from typing import cast

import pytest
import torch
from torch import Tensor

from genomix.models.families import build_language_model
from genomix.models.registry import get_model
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training import graphed_loss
from genomix.training.graphed_loss import GraphedLoss
from genomix.training.lm_loss import next_token_loss


def trained(name: str, device: str, n_steps: int = 8) -> tuple[list[float], list[torch.Tensor], list[bool]]:
    """Losses of some steps, the last on a batch of another shape, the weights after them, and which had a graph."""
    torch.manual_seed(1)
    model = build_language_model(get_model(name).config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def loss_of(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return next_token_loss(model, model.hidden_states(ids), targets)

    loss = GraphedLoss(loss_of, model)
    generator = torch.Generator().manual_seed(2)
    losses, captured = [], []
    for step in range(n_steps):
        rows = 3 if step == n_steps - 1 else 4
        ids = torch.randint(7, 11, (rows, 257), generator=generator, dtype=torch.uint8).to(device)
        torch.manual_seed(step)  # dropout
        with torch.autocast(device, dtype=torch.bfloat16, cache_enabled=False):
            value = loss(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        torch.autograd.backward(value)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(value))
        captured.append(loss.is_captured)
    return losses, [p.detach().clone() for p in model.parameters()], captured


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("name", ["hyenadna/tiny-1k", "sh2/7m"])
def test_a_graph_trains_as_eager_calls_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, weights, captured = trained(name, "cuda")
    assert captured == ([False] * 2 + [True] * 5 + [False] if name == "sh2/7m" else [False] * 8)
    monkeypatch.setattr(graphed_loss, "MOST_FEATURES", 0)
    expected_losses, expected, _ = trained(name, "cuda")
    assert losses == pytest.approx(expected_losses, rel=1e-4)
    for found, wanted in zip(weights, expected, strict=True):
        # embedding gradients are summed in any order, and Adam makes the sign of small ones count
        torch.testing.assert_close(found, wanted, rtol=1e-2, atol=2e-3)


@pytest.fixture
def graphed() -> Iterator[tuple[GraphedLoss, Callable[[int], None]]]:
    """A loss on the GPU, and what makes three steps of it, the last captured, on windows of some length."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    model = cast("StripedHyena2", build_language_model(get_model("sh2/7m").config).cuda().train())

    def loss_of(ids: Tensor, targets: Tensor) -> Tensor:
        return next_token_loss(model, model.hidden_states(ids), targets)

    graphed = GraphedLoss(loss_of, model)

    def three_steps(seqlen: int) -> None:
        ids = torch.randint(7, 11, (32768 // seqlen, seqlen), dtype=torch.uint8).cuda()
        for _ in range(3):
            model.zero_grad()
            with torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False):
                value = graphed(ids, ids)
            torch.autograd.backward(value)
        assert graphed.is_captured

    gc.collect()
    gc.disable()  # a graph is to go at once, and not when the collector happens to come by
    yield graphed, three_steps
    gc.enable()


@pytest.mark.gpu
def test_a_graph_gives_its_memory_back_before_the_next_one_is_captured(
    graphed: tuple[GraphedLoss, Callable[[int], None]],
) -> None:
    loss, three_steps = graphed
    three_steps(1024)
    loss.release()
    held = torch.cuda.memory_reserved()
    three_steps(1024)
    with_one = torch.cuda.memory_reserved()
    assert with_one > held + (1 << 30)  # about 280 bytes for each of 2^15 x 256 features are kept
    for seqlen in (2048, 512, 1024):
        three_steps(seqlen)
        assert torch.cuda.memory_reserved() < held + 1.3 * (with_one - held)
    loss.release()
    assert not loss.is_captured
    assert torch.cuda.memory_reserved() < held + (100 << 20)


@pytest.mark.gpu
def test_a_graph_works_in_little_more_memory_than_an_eager_step(
    graphed: tuple[GraphedLoss, Callable[[int], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, three_steps = graphed
    three_steps(1024)  # kernels are compiled, and libraries take their workspaces
    loss.release()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    monkeypatch.setattr(graphed_loss, "EAGER_CALLS", 1)
    three_steps(1024)
    eager = torch.cuda.max_memory_allocated() - held
    assert torch.cuda.memory_reserved() - held < 1.5 * eager + (100 << 20)


@pytest.mark.gpu
def test_no_step_meets_nodes_of_another_stream(
    graphed: tuple[GraphedLoss, Callable[[int], None]],
) -> None:
    _, three_steps = graphed
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for seqlen in (1024, 512, 1024):
                three_steps(seqlen)
    finally:
        torch.set_warn_always(before)
    assert [str(each.message) for each in caught if "AccumulateGrad" in str(each.message)] == []


def test_a_cpu_calls_the_function_itself() -> None:
    losses, _, captured = trained("hyenadna/tiny-1k", "cpu", 4)
    assert not any(captured)
    assert losses[0] == pytest.approx(2.77, abs=0.3)
