"""Rotary positions changed in a model that is there: the same as a model built that way."""

import dataclasses
from typing import Any

import pytest
import torch

from genomix.models.families import build_language_model
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.models.stripedhyena2.positions import change_positions
from genomix.operators.attention import RotaryAttention
from genomix_data.errors import ConfigError
from tests.genomix.training.test_pretrain_options import tiny_sh2
from tests.genomix.training_helpers import tiny_model

IDS = torch.randint(65, 85, (1, 40), generator=torch.Generator().manual_seed(2))


def built(**changes: Any) -> StripedHyena2:
    config = tiny_sh2().config
    assert isinstance(config, StripedHyena2Config)
    torch.manual_seed(3)
    model = build_language_model(dataclasses.replace(config, **changes))
    assert isinstance(model, StripedHyena2)
    for module in model.modules():  # so that attention matters in a model that was never trained
        if isinstance(module, RotaryAttention):
            torch.nn.init.normal_(module.qkv.weight, std=1.0)
    return model.eval()


@pytest.mark.parametrize(
    "changes", [{"position_scale": 4.0}, {"rope_base": 500.0}, {"position_scale": 2.0, "rope_base": 1e6}]
)
@pytest.mark.parametrize("rounds_inv_freq", [False, True])
@torch.no_grad()
def test_the_same_as_a_model_that_was_built_so(changes: dict[str, float], rounds_inv_freq: bool) -> None:
    model = built(rounds_inv_freq=rounds_inv_freq)
    before = model(IDS)
    change_positions(model, **changes)
    expected = built(rounds_inv_freq=rounds_inv_freq, **changes)
    assert model.config == expected.config
    assert torch.equal(model(IDS), expected(IDS))
    assert not torch.allclose(model(IDS), before, atol=1e-4)


@torch.no_grad()
def test_position_interpolation_leaves_the_first_token_alone() -> None:
    model = built()
    before = model(IDS)
    change_positions(model, position_scale=8.0)
    assert torch.equal(model(IDS)[:, 0], before[:, 0])


def test_nothing_asked_for_changes_nothing() -> None:
    hyena = build_language_model(tiny_model().config)
    change_positions(hyena)
    with pytest.raises(ConfigError, match="position_scale and rope_base are of the rotary positions"):
        change_positions(hyena, position_scale=2.0, rope_base=1e5)


def test_a_model_without_attention_has_no_positions() -> None:
    with pytest.raises(ConfigError, match="this model has none"):
        change_positions(built(pattern="SML"), rope_base=1e5)


@pytest.mark.parametrize("changes", [{"position_scale": 0.0}, {"rope_base": -1.0}])
def test_numbers_must_be_above_0(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        change_positions(built(), **changes)
