from typing import get_args

import pytest
import torch
from torch import Tensor

from genomix.heads.classifier import SequenceClassifier
from genomix.heads.pooling import POOLINGS, Pooling, SequencePooling, pool
from genomix.models.hyenadna.model import HyenaDNA
from tests.genomix.golden import tiny_config

LENGTHS = (1, 40, 97, 256)


def make_classifier(pooling: Pooling = "mean", dropout: float = 0.0) -> SequenceClassifier:
    torch.manual_seed(0)
    return SequenceClassifier(HyenaDNA(tiny_config()), 3, pooling=pooling, dropout=dropout).eval()


def sequences() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(7, 12, (length,), generator=generator) for length in LENGTHS]


@pytest.mark.parametrize("pad_id", [4, 9])
@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_a_sequence_is_classified_the_same_alone_and_in_any_padded_batch(
    pooling: Pooling, pad_id: int
) -> None:
    classifier = make_classifier(pooling)
    alone = torch.cat([classifier(ids[None]) for ids in sequences()])
    batch = torch.full((len(LENGTHS), 256), pad_id)
    for row, ids in enumerate(sequences()):
        batch[row, : len(ids)] = ids
    together = classifier(batch, torch.tensor(LENGTHS))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    reordered = classifier(batch.flip(0), torch.tensor(LENGTHS).flip(0)).flip(0)
    torch.testing.assert_close(reordered, alone, atol=1e-5, rtol=1e-5)


def test_without_lengths_every_position_counts() -> None:
    classifier = make_classifier()
    ids = torch.stack([sequences()[3], sequences()[3].flip(0)])
    torch.testing.assert_close(classifier(ids), classifier(ids, torch.tensor([256, 256])))
    assert not torch.allclose(classifier(ids), classifier(ids, torch.tensor([100, 256])))


def test_pooling_by_hand() -> None:
    hidden = torch.tensor([[[1.0, -2.0], [3.0, -4.0], [100.0, 100.0]]])
    lengths = torch.tensor([2])
    expected = {
        "mean": [2.0, -3.0],
        "last": [3.0, -4.0],
        "first": [1.0, -2.0],
        "max": [3.0, -2.0],
        "attention": [2.0, -3.0],
        "window": [1.0, -2.0, 3.0, -4.0],
    }
    assert set(expected) == set(POOLINGS)
    for pooling, values in expected.items():
        pooler = SequencePooling(2, pooling, n_windows=2)  # type: ignore[arg-type]
        assert pooler(hidden, lengths)[0].tolist() == values
        assert pooler.out_features == len(values)
    with pytest.raises(ValueError, match="must be one of mean, last, first, max"):
        pool(hidden, lengths, "attention")  # type: ignore[arg-type]


def test_attention_weighs_positions_by_a_learned_score() -> None:
    pooler = SequencePooling(2, "attention")
    assert pooler.query is not None
    with torch.no_grad():
        pooler.query.copy_(torch.tensor([50.0, 0.0]))
    hidden = torch.tensor([[[1.0, 7.0], [2.0, 5.0], [9.0, 9.0]]])
    torch.testing.assert_close(pooler(hidden, torch.tensor([2])), torch.tensor([[2.0, 5.0]]))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 8])
def test_windows_hold_every_position_once_where_there_are_enough(length: int) -> None:
    n_windows = 3
    hidden = torch.arange(8.0)[None, :, None]
    windows = SequencePooling(1, "window", n_windows=n_windows)(hidden, torch.tensor([length]))[0]
    sizes = [
        max((i + 1) * length // n_windows, i * length // n_windows + 1) - i * length // n_windows
        for i in range(3)
    ]
    assert bool(windows.isfinite().all())
    assert windows.tolist() == sorted(windows.tolist())
    if length >= n_windows:
        total = sum(size * float(window) for size, window in zip(sizes, windows, strict=True))
        assert total == pytest.approx(sum(range(length)))


def test_padding_gets_no_gradient_from_pooling() -> None:
    for pooling in get_args(Pooling):
        hidden = torch.randn(2, 5, 3, requires_grad=True)
        torch.autograd.backward(SequencePooling(3, pooling)(hidden, torch.tensor([2, 5])).sum())
        assert hidden.grad is not None
        assert hidden.grad[0, 2:].abs().sum() == 0
        assert hidden.grad[0, :2].abs().sum() > 0


@pytest.mark.parametrize("lengths", [[0, 5], [5, 6], [5]])
def test_lengths_outside_of_the_batch_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match=r"lengths must be 2 values from 1 to 5; they are \["):
        pool(torch.zeros(2, 5, 3), torch.tensor(lengths), "mean")


def test_dropout_before_the_head() -> None:
    classifier = make_classifier(dropout=0.5)
    ids = sequences()[1][None]
    assert torch.equal(classifier(ids), classifier(ids))
    classifier.head.train()
    assert not torch.equal(classifier(ids), classifier(ids))


def test_the_backbone_is_taken_over_with_its_weights() -> None:
    model = HyenaDNA(tiny_config()).eval()
    classifier = SequenceClassifier(model, 2)
    assert classifier.backbone is model.backbone
    assert classifier.config is model.config
    names = {name.partition(".")[0] for name in classifier.state_dict()}
    assert names == {"backbone", "head"}


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="n_classes is 0"):
        SequenceClassifier(HyenaDNA(tiny_config()), 0)
    with pytest.raises(ValueError, match="pooling is 'median'; it must be one of mean, last, first, max"):
        SequenceClassifier(HyenaDNA(tiny_config()), 2, pooling="median")  # type: ignore[arg-type]
