"""Outputs of the official StripedHyena 2 code (tests/fixtures/stripedhyena2)."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import Block, StripedHyena2
from genomix.models.stripedhyena2.state_dict import from_vortex

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "stripedhyena2"

# the official code's own fp32 noise is 5e-5 at a logit scale of 40
LOGITS, OPERATORS = 2e-4, 5e-5

CONFIG = StripedHyena2Config(
    pattern="SMLASMLA", d_model=64, n_heads=4, d_inner=176, context_len=2048, n_groups=4
)


def arrays(name: str) -> dict[str, Tensor]:
    """Return the numeric arrays of an ``.npz`` fixture."""
    with np.load(FIXTURES / name) as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored.files if stored[key].dtype.kind in "fiu"}


def values(name: str) -> Any:
    """Return a JSON fixture."""
    return json.loads((FIXTURES / name).read_text(encoding="utf-8"))


def tensors(name: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors fixture."""
    return load_file(FIXTURES / name)


@cache
def official_model() -> StripedHyena2:
    """Return the tiny model with the official weights, in eval mode; not to be changed."""
    model = StripedHyena2(CONFIG)
    model.load_state_dict(from_vortex(tensors("tiny_vortex_state_dict.safetensors"), CONFIG), strict=True)
    return model.eval()


def assert_close(actual: Tensor, expected: Tensor, atol: float) -> None:
    """Compare with the tolerances that the noise of the official code asks for."""
    torch.testing.assert_close(actual, expected, atol=atol, rtol=1e-5)


def official_block(index: int) -> Block:
    """Return a block of the tiny model."""
    block = official_model().blocks[index]
    assert isinstance(block, Block)
    return block
