"""Partial convolutions in HyenaDNA: inputs beyond ``l_max`` under the same filters, and filters with fewer taps.

In both a filter is shorter than the input. A token sees ``filter_len - 1`` tokens back in each layer, and what is
further away through the layers only. Results are models of another config, which a model folder keeps; parameters are
shared with the model that they were made of. Source: Fu et al. 2023, FlashFFTConv, arXiv:2311.05908.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA, HyenaDNABackbone
from genomix.operators.implicit_filter import ImplicitFilter
from genomix_kernels.fftconv.approximate import OutputError, SparseFilter, sparsify_spectrum, truncate_filter

Model = TypeVar("Model", bound=nn.Module)
"""A `HyenaDNA`, its backbone, or a head on it."""


def extend_context(model: Model, longest_input: int) -> Model:
    """Return the model for inputs of up to ``longest_input`` tokens, beyond the ``l_max`` that it was built for.

    Its filters stay as they are, taps and time scale, so the outputs of the first ``l_max`` tokens do too, up to
    rounding. Nothing was trained beyond: what comes there is an extrapolation, to be checked on data.

    Args:
        model: Shares its parameters with the result.
        longest_input: Tokens; above ``l_max``.

    Raises:
        ConfigError: if it is not above ``l_max``.
        ValueError: if this is no HyenaDNA model.
    """
    return _with_config(model, extended_len=longest_input)


def truncate_filters(
    model: Model, filter_len: int, *, seqlen: int | None = None
) -> tuple[Model, tuple[OutputError, ...]]:
    """Return the model with the first ``filter_len`` taps of its long filters, and the error of each layer.

    The error is that of the convolutions of a layer, skip term included, for white input; see
    `genomix_kernels.fftconv.approximate`. What it does to logits depends on the data, and is to be measured.

    Args:
        model: Shares its parameters with the result.
        filter_len: Taps to keep, at most as many as there are.
        seqlen: Tokens of the sequences that the errors are stated for; ``l_max`` if None.

    Raises:
        ValueError: if there are fewer taps, or this is no HyenaDNA model.
    """
    backbone_config(model)
    errors = tuple(
        truncate_filter(h, filter_len, seqlen=seqlen or filters.l_max, skip=filters.bias).error
        for filters, h in _filters(model)
    )
    return _with_config(model, filter_len=filter_len), errors


def sparsify_filters(
    model: nn.Module, keep: float, *, by: Literal["frequency", "magnitude"] = "frequency"
) -> Iterator[SparseFilter]:
    """Return the filters of each layer with a part of their spectrum set to zero, and the errors that this makes.

    An iterator, as those of a million taps take gigabytes. The model stays as it is: no kernel of ours leaves out the
    zeros, so there would be an error and nothing for it.

    Args:
        model: A HyenaDNA model.
        keep: Fraction of the frequencies that stay.
        by: Which ones: see `genomix_kernels.fftconv.approximate.sparsify_spectrum`.

    Raises:
        ValueError: if ``keep`` is not a fraction, or this is no HyenaDNA model.
    """
    backbone_config(model)
    return (
        sparsify_spectrum(h, filters.l_max, keep, by=by, skip=filters.bias.detach())
        for filters, h in _filters(model)
    )


def backbone_config(model: nn.Module) -> HyenaDNAConfig:
    """Return the config of the HyenaDNA backbone that a model has.

    Raises:
        ValueError: if it has none.
    """
    for module in model.modules():
        if isinstance(module, HyenaDNABackbone):
            return module.config
    raise ValueError(f"{type(model).__name__} has no HyenaDNA backbone, whose filters these are.")


@torch.no_grad()
def _taps(filters: ImplicitFilter) -> Tensor:
    h: Tensor = filters(filters.filter_len)
    return h


def _filters(model: nn.Module) -> Iterator[tuple[ImplicitFilter, Tensor]]:
    """Yield the filters of each layer, and their taps."""
    for module in model.modules():
        if isinstance(module, ImplicitFilter):
            yield module, _taps(module)


def _with_config(model: Model, **changes: int) -> Model:
    """Return a copy of a model, with the same parameters and buffers, whose config has these changes."""
    config = replace(backbone_config(model), **changes)  # type: ignore[arg-type]  # every field that changes here is an int
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    changed = copy.deepcopy(model, shared)
    for module in changed.modules():
        if isinstance(module, HyenaDNA | HyenaDNABackbone):
            module.config = config
        elif isinstance(module, ImplicitFilter):
            module.filter_len = config.filter_len or config.l_max
            module.longest_input = config.longest_input
    return changed
