"""What is computed again changes neither a number nor a name."""

from typing import get_args

import pytest
import torch

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.operators.recompute import Recompute
from tests.genomix.golden import tiny_config

POLICIES: tuple[Recompute, ...] = get_args(Recompute)


def make(family: str) -> HyenaDNA | StripedHyena2:
    torch.manual_seed(1)
    if family == "hyenadna":
        return HyenaDNA(tiny_config(resid_dropout=0.2, embed_dropout=0.1)).train()
    config = StripedHyena2Config(
        pattern="SMLA", d_model=16, n_heads=2, d_inner=24, context_len=64, vocab_size=16, n_groups=4
    )
    return StripedHyena2(config).train()


@pytest.mark.parametrize("family", ["hyenadna", "stripedhyena2"])
def test_gradients_and_names_are_the_same_under_every_policy(family: str) -> None:
    model = make(family)
    names = list(model.state_dict())
    ids = torch.randint(7, 11, (2, 33))
    found: dict[str, tuple[int, dict[str, torch.Tensor]]] = {}
    for policy in POLICIES:
        model.recompute = policy
        model.zero_grad()
        saved: dict[int, int] = {}

        def remember(tensor: torch.Tensor, saved: dict[int, int] = saved) -> torch.Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.manual_seed(3)  # dropout draws the same in each
        with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
            loss = model(ids).square().mean()
        torch.autograd.backward(loss)
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found[policy] = (sum(saved.values()), gradients)
    assert list(model.state_dict()) == names
    kept, expected = found["none"]
    assert len(expected) == len(list(model.parameters()))
    for name_of_policy, (_, gradients) in found.items():
        for name, gradient in gradients.items():
            torch.testing.assert_close(
                gradient, expected[name], rtol=1e-6, atol=1e-7, msg=f"{name_of_policy} {name}"
            )
    assert found["auto"][0] == kept, "on a CPU nothing is computed again by itself"
    assert found["block"][0] < found["mixer"][0] < kept
    assert found["block"][0] < found["mlp"][0] < kept
