"""Rotary positions of a model that is there, for inputs longer than it was trained at.

Position interpolation divides positions by a number, so that the last one of a longer input turns no further than the
last one in training (Chen et al. 2023, arXiv:2306.15595); another base slows the frequencies down, the low ones most.
Only attention is touched: the filters of Hyena-SE, -MR and -LI know no positions.
"""

import dataclasses
from typing import Any

import torch

from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.operators.attention import RotaryAttention, inverse_frequencies
from genomix_data.errors import ConfigError


@torch.no_grad()
def change_positions(
    model: HyenaDNA | StripedHyena2, *, position_scale: float | None = None, rope_base: float | None = None
) -> None:
    """Change the rotary positions of a model in place; its config says so.

    Args:
        model: A StripedHyena 2 with attention.
        position_scale: Positions are divided by it; None leaves it as it is.
        rope_base: Of the frequencies, in place of the stored ones; None keeps those.

    Raises:
        ConfigError: if the model has no rotary positions, or a number is not above 0.
    """
    asked = {"position_scale": position_scale, "rope_base": rope_base}
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if not changes:
        return
    attention = [module for module in model.modules() if isinstance(module, RotaryAttention)]
    if not isinstance(model, StripedHyena2) or not attention:
        raise ConfigError(
            f"{' and '.join(changes)} are of the rotary positions of attention, and this model has none. Leave it out."
        )
    model.config = dataclasses.replace(model.config, **changes)
    for module in attention:
        module.position_scale = model.config.position_scale
        if rope_base is not None:
            frequencies = inverse_frequencies(module.head_dim, rope_base)
            if model.config.rounds_inv_freq:
                frequencies = frequencies.bfloat16().float()
            module.inv_freq.copy_(frequencies)
