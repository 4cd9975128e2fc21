"""CUDA graphs launch the same kernels: the same losses and weights as without."""

import pytest
import torch

from genomix.models.families import build_language_model
from genomix.models.registry import get_model
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


def test_a_cpu_calls_the_function_itself() -> None:
    losses, _, captured = trained("hyenadna/tiny-1k", "cpu", 4)
    assert not any(captured)
    assert losses[0] == pytest.approx(2.77, abs=0.3)
