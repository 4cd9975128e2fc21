"""Weights that a pretraining run begins with: those of a checkpoint, whose context may be extended.

HyenaDNA goes on with the same filters beyond ``l_max`` (see `genomix.models.hyenadna.partial`). StripedHyena 2 divides
rotary positions by how many times longer the context becomes (position interpolation), and may change the base of the
rotary frequencies, as Evo 2 was extended (Brixi et al. 2025).
"""

import dataclasses

import torch
from torch import Tensor

from genomix.checkpoint.native import LoadedModel, load_model
from genomix.models.families import AnyConfig
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.registry import get_model
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training.config import InitConfig, PretrainConfig, check_fits, untrained
from genomix.training.starting_model import model_of_checkpoint
from genomix_data.errors import ConfigError


def with_checkpoint(config: PretrainConfig) -> tuple[PretrainConfig, LoadedModel | None]:
    """Return the settings with the architecture and the tokenizer of ``init.checkpoint``, and what was loaded from it.

    Raises:
        CheckpointError: if it cannot be read, or is no language model.
        ConfigError: if settings contradict it, or its context cannot become what was asked for.
    """
    init = config.init
    if init.checkpoint is None:
        return config, None
    loaded = load_model(init.checkpoint, expect="language_model")
    if init.sha256 not in (None, loaded.sha256):
        raise ConfigError(
            f"the weights of {str(init.checkpoint)!r} have SHA-256 {loaded.sha256}, and init.sha256 is {init.sha256}. "
            "They are not the ones that were meant."
        )
    model = model_of_checkpoint(
        config.model,
        loaded.config,
        loaded.provenance,
        defaults=untrained(get_model(config.model.name).config),
        source="init.checkpoint",
    )
    if config.data.tokenizer not in ("auto", loaded.tokenizer.name):
        raise ConfigError(
            f"data.tokenizer is {config.data.tokenizer}, and the model of {str(init.checkpoint)!r} was trained with "
            f"{loaded.tokenizer.name}. Leave it out."
        )
    complete = dataclasses.replace(
        config,
        model=dataclasses.replace(model, config=extended(model.config, init)),
        data=dataclasses.replace(
            config.data, tokenizer="byte" if loaded.tokenizer.name == "byte" else "char"
        ),
        init=dataclasses.replace(init, sha256=loaded.sha256),
    )
    check_fits(complete)
    return complete, loaded


def extended(config: AnyConfig, init: InitConfig) -> AnyConfig:
    """Return an architecture with the context that was asked for.

    Raises:
        ConfigError: if it is not longer than before, or a setting does not belong to the family.
    """
    if isinstance(config, HyenaDNAConfig):
        for name in ("position_scale", "rope_base"):
            if getattr(init, name) is not None:
                raise ConfigError(
                    f"init.{name} is of rotary positions, which HyenaDNA has none of. Leave it out."
                )
        if init.context_len is None or init.context_len == config.longest_input:
            return config
        _check_longer(init.context_len, config.l_max)
        return dataclasses.replace(config, extended_len=init.context_len)
    context_len = init.context_len or config.context_len
    _check_longer(context_len, config.context_len)
    scale = init.position_scale or config.position_scale * context_len / config.context_len
    base = init.rope_base or config.rope_base
    return dataclasses.replace(config, context_len=context_len, position_scale=scale, rope_base=base)


@torch.no_grad()
def load_initial(model: HyenaDNA | StripedHyena2, loaded: LoadedModel, init: InitConfig) -> None:
    """Put the weights of a checkpoint into a model of the extended architecture."""
    weights: dict[str, Tensor] = dict(loaded.language_model.state_dict())
    if init.rope_base is not None:
        # Frequencies are stored with the weights, and used as stored unless another base is asked for.
        weights.update({name: t for name, t in model.state_dict().items() if name.endswith("inv_freq")})
    model.load_state_dict(weights)


def _check_longer(context_len: int, before: int) -> None:
    if context_len < before:
        raise ConfigError(
            f"init.context_len is {context_len}, and the model takes {before} tokens already. Shorter windows need no "
            "change: set data.seqlen."
        )
