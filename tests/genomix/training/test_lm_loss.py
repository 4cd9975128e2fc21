"""The loss with weights, against numbers worked out by hand, and piece by piece against all at once."""

import math

import pytest
import torch
from torch.nn import functional as F

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training.fasta_config import SoftMaskLoss
from genomix.training.lm_loss import next_token_loss
from genomix_data.lm_batch import NO_TARGET
from tests.genomix.training_helpers import tiny_model

# Logits whose softmax is easy: the target has probability 1/2, 1/4, 1/8; the fourth target does not count.
P_TARGET = (1 / 2, 1 / 4, 1 / 8, 1 / 2)
LOGITS = torch.tensor([[[math.log(p), math.log(1 - p)] for p in P_TARGET]])
TARGETS = torch.tensor([[0, 0, 0, NO_TARGET]], dtype=torch.uint8)
WEIGHTS = torch.tensor([[1.0, 0.1, 0.5, 1.0]])


@pytest.fixture
def identity() -> StripedHyena2:
    """A model whose hidden states are its logits."""
    model = StripedHyena2(
        StripedHyena2Config(
            pattern="S",
            d_model=2,
            n_heads=1,
            d_inner=2,
            context_len=8,
            vocab_size=2,
            n_groups=1,
            tie_embeddings=False,
        )
    )
    torch.nn.init.eye_(model.unembedding.weight)
    return model


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        # ln 2 * (1 * 1 + 0.1 * 2 + 0.5 * 3) = 2.7 ln 2, over 3 targets, or over 1.6 of weight.
        ("weighted", 2.7 * math.log(2) / 3),
        ("normalized_weighted", 2.7 * math.log(2) / 1.6),
    ],
)
def test_the_weighted_loss_is_that_worked_out_by_hand(
    identity: StripedHyena2, form: SoftMaskLoss, expected: float
) -> None:
    loss = next_token_loss(identity, LOGITS, TARGETS, WEIGHTS, form)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", ["weighted", "normalized_weighted"])
def test_no_weight_or_no_target_is_no_loss(identity: StripedHyena2, form: SoftMaskLoss) -> None:
    nothing = torch.full_like(TARGETS, NO_TARGET)
    assert next_token_loss(identity, LOGITS, TARGETS, torch.zeros(1, 4), form).item() == 0.0
    assert next_token_loss(identity, LOGITS, nothing, WEIGHTS, form).item() == 0.0
    assert next_token_loss(identity, LOGITS, nothing).item() == 0.0


@pytest.mark.parametrize("form", ["weighted", "normalized_weighted"])
def test_weights_of_one_are_no_weights(identity: StripedHyena2, form: SoftMaskLoss) -> None:
    plain = next_token_loss(identity, LOGITS, TARGETS)
    weighted = next_token_loss(identity, LOGITS, TARGETS, torch.ones(1, 4), form)
    assert weighted.item() == pytest.approx(plain.item(), rel=1e-6)
    assert plain.item() == pytest.approx(2 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("form", [None, "weighted", "normalized_weighted"])
@pytest.mark.parametrize("logits_at_once", [1, 16, 16 * 7, 16 * 1000])
def test_pieces_give_the_value_and_the_gradients_of_the_whole(
    form: SoftMaskLoss | None, logits_at_once: int
) -> None:
    torch.manual_seed(0)
    config = tiny_model().config
    assert isinstance(config, HyenaDNAConfig)
    model = HyenaDNA(config).double().eval()
    hidden = torch.randn(3, 11, config.d_model, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(7, 11, (3, 11)).to(torch.uint8)
    targets[0, :5], targets[2, 10] = NO_TARGET, NO_TARGET
    weights = torch.rand(3, 11, dtype=torch.float64)

    # The definition, with all logits at once.
    flat = targets.flatten().long()
    each = F.cross_entropy(model.logits(hidden).flatten(0, 1), flat, reduction="none", ignore_index=NO_TARGET)
    counted = (flat != NO_TARGET).double()
    kept = counted if form is None else weights.flatten() * counted
    expected = (each * kept).sum() / (kept.sum() if form == "normalized_weighted" else 33 - 6)
    wanted = torch.autograd.grad(expected, [hidden, *model.backbone.embeddings.parameters()])

    given = None if form is None else weights
    found = next_token_loss(model, hidden, targets, given, form or "weighted", logits_at_once=logits_at_once)
    got = torch.autograd.grad(found, [hidden, *model.backbone.embeddings.parameters()])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    for a, b in zip(got, wanted, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-9)


def test_no_more_logits_exist_than_are_allowed() -> None:
    config = tiny_model(d_model=24).config
    assert isinstance(config, HyenaDNAConfig)
    model = HyenaDNA(config).eval()
    hidden = torch.randn(2, 50, config.d_model, requires_grad=True)
    sizes: list[int] = []

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    targets = torch.full((2, 50), 7, dtype=torch.uint8)
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        next_token_loss(model, hidden, targets, logits_at_once=16 * 10)
    # What is kept for the backward pass: hidden states and targets, of no piece its logits.
    assert max(sizes) <= hidden.numel()
    assert sizes.count(16 * 10) == 0
