import pytest
import torch
from torch import nn

from genomix.training.ema import WeightAverage


def test_the_average_is_that_worked_out_by_hand_and_soon_forgets_the_beginning() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 8.0)
    average = WeightAverage(model, 0.5)
    expected = 8.0
    for step, value in enumerate([1.0, 2.0, 3.0, -4.0]):
        nn.init.constant_(model.weight, value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.state_dict()["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_it_stands_in_for_the_weights_and_gives_them_back_even_after_an_error() -> None:
    model = nn.Linear(3, 2)
    average = WeightAverage(model, 0.9)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        model.weight.add_(1.0)
    changed = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen: list[torch.Tensor] = []

    def fail() -> None:
        with average.applied():
            seen.append(model.weight.detach().clone())
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert torch.equal(seen[0], before["weight"])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, changed[name])


def test_it_goes_on_from_its_state() -> None:
    model = nn.Linear(3, 2)
    one = WeightAverage(model, 0.99)
    with torch.no_grad():
        model.weight.add_(1.0)
    one.update(0)
    other = WeightAverage(model, 0.99, {name: t.clone() for name, t in one.state_dict().items()})
    with torch.no_grad():
        model.weight.mul_(2.0)
    for average in (one, other):
        average.update(1)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
