"""Multi-label, regression and per-base heads: saved, loaded, learnt, and told apart."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from genomix.checkpoint.native import load_model, save_model
from genomix.heads.build import HeadModel
from genomix.heads.classifier import SequenceClassifier
from genomix.heads.targets import MultiLabelClassifier, SequenceRegressor
from genomix.heads.token_classifier import TokenClassifier
from genomix.inference.predict import load_head_model
from genomix.models.hyenadna.model import HyenaDNA
from genomix.training.losses import multilabel_loss, regression_loss, token_loss
from genomix.training.target_metrics import regression_metrics
from genomix_data.errors import CheckpointError
from genomix_data.lm_batch import IGNORED
from genomix_data.tokenizers import CharTokenizer
from tests.genomix.golden import tiny_config

HEADS: dict[str, Callable[[HyenaDNA], HeadModel]] = {
    "classifier": lambda model: SequenceClassifier(model, 3, pooling="attention"),
    "multilabel": lambda model: MultiLabelClassifier(model, 4, pooling="window", n_windows=2, hidden=8),
    "regressor": lambda model: SequenceRegressor(model, 2, pooling="max", dropout=0.1),
    "token_classifier": lambda model: TokenClassifier(model, 3, lookahead=5, hidden=4),
}


def make(kind: str) -> HeadModel:
    torch.manual_seed(0)
    return HEADS[kind](HyenaDNA(replace(tiny_config(), embed_dropout=0.0))).eval()


def bases(batch: int, length: int, seed: int = 1) -> Tensor:
    """Ids of A, C, G and T."""
    return torch.randint(7, 11, (batch, length), generator=torch.Generator().manual_seed(seed))


def train(model: HeadModel, loss_of: Callable[[], Tensor], steps: int = 60) -> float:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of()
        torch.autograd.backward(loss)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        return float(loss_of())


@pytest.mark.parametrize("kind", list(HEADS))
def test_a_saved_head_is_loaded_as_it_was(kind: str, tmp_path: Path) -> None:
    model = make(kind)
    folder = save_model(
        model, tmp_path / "m", tokenizer=CharTokenizer(), head={}, provenance={}, card="a test"
    )
    loaded = load_model(folder, expect=kind)  # type: ignore[arg-type]
    assert type(loaded.model) is type(model)
    ids, lengths = bases(3, 20), torch.tensor([20, 7, 1])
    with torch.no_grad():
        assert torch.equal(loaded.model(ids, lengths), model(ids, lengths))


@pytest.mark.parametrize("kind", ["multilabel", "regressor", "token_classifier"])
def test_another_head_is_not_taken_for_a_classifier(kind: str, tmp_path: Path) -> None:
    folder = save_model(
        make(kind), tmp_path / "m", tokenizer=CharTokenizer(), head={}, provenance={}, card="a test"
    )
    assert load_head_model(folder).head_model.kind == kind
    with pytest.raises(CheckpointError, match="but a language model is needed here"):
        load_model(folder, expect="language_model")
    loaded = load_model(folder)
    with pytest.raises(CheckpointError, match="but a classifier is needed here"):
        _ = loaded.classifier
    with pytest.raises(CheckpointError, match="but a language model is needed here"):
        _ = loaded.language_model


@pytest.mark.parametrize("lookahead", [0, 3, 100])
def test_bases_are_classified_the_same_alone_and_in_any_padded_batch(lookahead: int) -> None:
    torch.manual_seed(0)
    model = TokenClassifier(HyenaDNA(tiny_config()), 3, lookahead=lookahead).eval()
    ids, lengths = bases(3, 30), torch.tensor([30, 11, 1])
    with torch.no_grad():
        together = model(ids, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = model(ids[row : row + 1, :length])
            torch.testing.assert_close(together[row, :length], alone[0], atol=1e-5, rtol=1e-5)


def test_lookahead_is_how_far_a_base_sees() -> None:
    torch.manual_seed(0)
    model = TokenClassifier(HyenaDNA(tiny_config()), 3, lookahead=4).eval().double()
    ids = bases(1, 30)
    changed = ids.clone()
    changed[0, 20] = 17 - changed[0, 20]  # another base
    with torch.no_grad():
        differs = (model(ids) - model(changed)).abs().amax(dim=2)[0] > 1e-12
    assert not differs[:16].any()
    assert bool(differs[16])


def test_a_base_that_follows_is_learnt_with_lookahead_only() -> None:
    ids = bases(8, 32)
    labels = torch.cat([ids[:, 2:] - 7, torch.full((8, 2), IGNORED)], dim=1)
    final = {}
    for lookahead in (0, 2):
        torch.manual_seed(0)
        model = TokenClassifier(HyenaDNA(tiny_config()), 4, lookahead=lookahead)
        fresh = iter(range(100, 1000))

        def loss() -> Tensor:
            drawn = bases(8, 32, seed=next(fresh))  # noqa: B023
            known = torch.cat([drawn[:, 2:] - 7, torch.full((8, 2), IGNORED)], dim=1)
            return token_loss(model(drawn), known)  # noqa: B023

        train(model, loss)
        with torch.no_grad():
            final[lookahead] = float(token_loss(model(ids), labels))
    assert final[2] < 0.2
    assert final[0] > 1.2, "nothing before a random base tells it"


def test_labels_that_do_not_exclude_each_other_are_learnt() -> None:
    model = make("multilabel")
    assert isinstance(model, MultiLabelClassifier)
    ids = bases(32, 24)
    share = torch.stack([(ids == base).float().mean(dim=1) for base in range(7, 11)], dim=1)
    targets = (share > share.median(dim=0).values).float()
    targets[0, 0] = float("nan")
    assert train(model, lambda: multilabel_loss(model(ids), targets), 120) < 0.3
    probabilities = model.probabilities(ids)
    is_known = targets.isfinite()
    assert float(((probabilities > 0.5) == (targets > 0.5))[is_known].float().mean()) > 0.85


@pytest.mark.parametrize("form", ["mse", "huber", "poisson"])
def test_numbers_are_learnt(form: str) -> None:
    torch.manual_seed(0)
    model = SequenceRegressor(HyenaDNA(replace(tiny_config(), embed_dropout=0.0)), 1)
    ids = bases(32, 24)
    counts = (ids >= 9).float().sum(dim=1, keepdim=True) / 4
    train(model, lambda: regression_loss(model(ids), counts, form), 250)  # type: ignore[arg-type]
    with torch.no_grad():
        predicted = model(ids).exp() if form == "poisson" else model(ids)
    (found,) = regression_metrics(predicted.double().numpy(), counts.double().numpy(), ["count"])
    assert found.r2 is not None
    assert found.r2 > 0.5


def test_missing_targets_have_no_part_in_a_loss() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    nothing = torch.full((4, 3), float("nan"))
    targets = torch.tensor([[0.0, 1.0, float("nan")]]).repeat(4, 1)
    for loss in (multilabel_loss(logits, targets), regression_loss(logits, targets, "poisson")):
        logits.grad = None
        torch.autograd.backward(loss)
        assert logits.grad is not None
        assert bool(loss.isfinite())
        assert logits.grad[:, 2].abs().sum() == 0
        assert bool((logits.grad[:, :2] != 0).all())
    torch.testing.assert_close(
        multilabel_loss(logits, targets), multilabel_loss(logits[:, :2], targets[:, :2])
    )
    assert multilabel_loss(logits, nothing).item() == 0
    assert float(token_loss(torch.randn(2, 3, 4), torch.full((2, 3), IGNORED))) == 0
    with pytest.raises(ValueError, match="there are mse, huber and poisson"):
        regression_loss(logits, targets, "l1")  # type: ignore[arg-type]


def test_impossible_heads_are_refused() -> None:
    model = HyenaDNA(tiny_config())
    with pytest.raises(ValueError, match="n_labels is 0"):
        MultiLabelClassifier(model, 0)
    with pytest.raises(ValueError, match="n_targets is 0"):
        SequenceRegressor(model, 0)
    with pytest.raises(ValueError, match="lookahead is -1"):
        TokenClassifier(model, 2, lookahead=-1)
    with pytest.raises(ValueError, match="n_classes is 0"):
        TokenClassifier(model, 0)
