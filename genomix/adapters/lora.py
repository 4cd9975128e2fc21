"""Low-rank adapters: ``W' = W + (alpha / rank) B A`` with W frozen; A is random and B zero at the start.

The update is a parametrization of the weight, not a hook on ``nn.Linear.forward``: operators here read ``.weight``
themselves (``to_channels``), and see the changed matrix wherever they do. `merge_adapters` leaves the plain model, its
parameters named as before and its matrices exactly those that ran.

Source: Hu et al. 2021, LoRA, arXiv:2106.09685. Dropout here drops input features of A for a whole batch, since a
matrix cannot know single tokens. The price: each adapted matrix, and its gradient, exist once more while it is used.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from genomix.operators.fp8 import ScaledLinear
from genomix_data.errors import ConfigError, preview

_NOT_BY_DEFAULT = frozenset({"implicit_filter", "head", "lm_head", "unembedding"})
"""Parts of a name that keep a linear map out of the default targets: filters' own MLPs, and outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """How large the adapters are, and where they go.

    Args:
        rank: Of each update.
        alpha: The update is scaled by ``alpha / rank``.
        dropout: Part of the input features that an adapter does not see, drawn anew for each batch.
        targets: Patterns of module names (``*.in_proj``, ``layers.1.*``), relative to the model; None takes every
            linear map of mixers and MLPs.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"the rank of the adapters is {self.rank}; it must be at least 1.")
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise ConfigError(f"alpha of the adapters is {self.alpha}; it must be above 0.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(
                f"dropout of the adapters is {self.dropout}; it must be at least 0 and below 1."
            )
        if self.targets is not None and not self.targets:
            raise ConfigError("no targets for the adapters; give patterns of module names, or null for all.")


class LowRankUpdate(nn.Module):
    """The map of a frozen matrix to the one that runs; its parameters are in fp32 at least."""

    def __init__(self, weight: Float[Tensor, "N K"], config: LoraConfig) -> None:
        super().__init__()
        n, k = weight.shape
        precise = torch.promote_types(weight.dtype, torch.float32)
        self.scale = config.alpha / config.rank
        self.dropout = config.dropout
        self.a = nn.Parameter(torch.empty(config.rank, k, dtype=precise, device=weight.device))
        self.b = nn.Parameter(torch.zeros(n, config.rank, dtype=precise, device=weight.device))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, weight: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Return the changed matrix in the dtype of the frozen one, rounded once."""
        with torch.autocast(device_type=weight.device.type, enabled=False):
            a: Tensor = self.a
            if self.training and self.dropout:
                a = a * F.dropout(torch.ones_like(a[0]), self.dropout)
            return (weight.to(a.dtype) + self.scale * (self.b @ a)).to(weight.dtype)


def add_adapters(model: nn.Module, config: LoraConfig) -> tuple[str, ...]:
    """Freeze a model and put adapters on its linear maps; nothing that it computes changes until they are trained.

    Args:
        model: Any module. What is added to it later (a head) stays trainable.
        config: Which adapters.

    Returns:
        Names of the modules that have one.

    Raises:
        ConfigError: if a pattern matches no linear map, or one that runs in 8 bits.
    """
    names = _targets(model, config.targets)
    model.requires_grad_(False)
    for name in names:
        module = model.get_submodule(name)
        weight = module.get_parameter("weight")
        parametrize.register_parametrization(module, "weight", LowRankUpdate(weight, config))
    return names


def merge_adapters(model: nn.Module) -> None:
    """Put the matrices that ran in the place of the frozen ones, and remove the adapters."""
    for _, module, update in list(_adapted(model)):
        update.eval()  # the whole update, whatever the dropout in training
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the adapters' tensors, named by the module that each belongs to: ``NAME.lora_a`` and ``NAME.lora_b``."""
    state: dict[str, Tensor] = {}
    for name, _, update in _adapted(model):
        state[f"{name}.lora_a"] = update.a.detach()
        state[f"{name}.lora_b"] = update.b.detach()
    return state


def load_adapter_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the adapters of a model the values that `adapter_state` returned.

    Raises:
        ConfigError: if names or shapes are of other adapters.
    """
    expected = adapter_state(model)
    wrong = sorted(expected.keys() ^ state.keys()) or [
        name for name, tensor in expected.items() if tensor.shape != state[name].shape
    ]
    if wrong:
        raise ConfigError(
            f"these adapters are not those of the model: {preview(wrong)} differ. Add adapters with the rank and the "
            "targets that they were trained with."
        )
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(state[name])


def linear_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of all linear maps of a model, those of its filters and outputs included."""
    return tuple(name for name, module in model.named_modules() if isinstance(module, nn.Linear))


def _targets(model: nn.Module, patterns: tuple[str, ...] | None) -> tuple[str, ...]:
    names = linear_names(model)
    if patterns is None:
        chosen = tuple(name for name in names if _NOT_BY_DEFAULT.isdisjoint(name.split(".")))
    else:
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ConfigError(
                    f"no linear map of the model has a name like {pattern!r}; there are {preview(names, 12)}."
                )
        chosen = tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))
    for name in chosen:
        module = model.get_submodule(name)
        if isinstance(module, ScaledLinear) and module.runs_fp8:
            raise ConfigError(f"{name} runs in 8 bits, where an adapter would be rounded away; leave it out.")
        if parametrize.is_parametrized(module, "weight"):
            raise ConfigError(f"{name} has an adapter already; merge it first (merge_adapters).")
    return chosen


def _adapted(model: nn.Module) -> Iterator[tuple[str, nn.Module, LowRankUpdate]]:
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            update = module.get_submodule("parametrizations.weight.0")
            if isinstance(update, LowRankUpdate):
                yield name, module, update
