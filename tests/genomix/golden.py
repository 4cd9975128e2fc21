"""Outputs of the official HyenaDNA code (tests/fixtures/hyenadna) and what the tests do with all of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.hyenadna.state_dict import from_foreign

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "hyenadna"
INPUTS = ("full", "short", "odd", "one", "special")

# of the official code's own fp32 against its fp64: 3.6e-5
ATOL, RTOL = 1e-4, 1e-4


def arrays(name: str) -> Mapping[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` fixture."""
    with np.load(FIXTURES / name) as stored:
        return {key: stored[key] for key in stored.files}


def tensors(name: str) -> dict[str, Tensor]:
    """Return the tensors of an ``.npz`` or ``.safetensors`` fixture."""
    if name.endswith(".npz"):
        return {key: torch.from_numpy(value) for key, value in arrays(name).items()}
    return load_file(FIXTURES / name)


def values(name: str) -> Any:
    """Return a JSON fixture."""
    return json.loads((FIXTURES / name).read_text())


def tiny_config(**changes: Any) -> HyenaDNAConfig:
    """Return the config that all the language models of the fixtures share."""
    settings: dict[str, Any] = {"d_model": 32, "n_layers": 2, "d_inner": 128, "l_max": 256, "shift": 0.0}
    return HyenaDNAConfig.from_dict(settings | changes)


def model_of(name: str, config: HyenaDNAConfig) -> HyenaDNA:
    """Return a language model in eval mode with the weights of a fixture, loaded strictly."""
    model = HyenaDNA(config)
    model.load_state_dict(from_foreign(tensors(name))[0], strict=True)
    return model.eval()


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Raise an AssertionError beyond the tolerance of fp32 outputs."""
    torch.testing.assert_close(actual, expected.to(actual.dtype), atol=ATOL, rtol=RTOL)


def assert_gradient_close(actual: Tensor | None, expected: Tensor) -> None:
    """Raise an AssertionError where a gradient differs by more than 1e-4 of its largest element."""
    assert actual is not None
    torch.testing.assert_close(actual, expected, atol=1e-4 * expected.abs().max().item(), rtol=0)
