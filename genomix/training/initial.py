"""Weights that a pretraining run begins with: those of a checkpoint, whose context may be extended.

HyenaDNA goes on with the same filters beyond ``l_max`` (see `genomix.models.hyenadna.partial`). StripedHyena 2 divides
rotary positions by how many times longer the context becomes (position interpolation), and may change the base of the
rotary frequencies, as Evo 2 was extended (Brixi et al. 2025).
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from genomix.checkpoint.native import LoadedModel, load_model
from genomix.models.families import AnyConfig, model_type_of
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.model import HyenaDNA
from genomix.models.registry import MODELS, get_model
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.model import StripedHyena2
from genomix.training.config import InitConfig, ModelConfig, PretrainConfig, check_fits, untrained
from genomix_data.errors import ConfigError

MAY_DIFFER = ("embed_dropout", "resid_dropout")
"""What a continued model may have otherwise than its checkpoint: settings of training, not of the weights."""


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
    architecture = extended(_with_changes(config.model, loaded), init)
    if config.data.tokenizer not in ("auto", loaded.tokenizer.name):
        raise ConfigError(
            f"data.tokenizer is {config.data.tokenizer}, and the model of {str(init.checkpoint)!r} was trained with "
            f"{loaded.tokenizer.name}. Leave it out."
        )
    complete = dataclasses.replace(
        config,
        model=ModelConfig(name=_name(config.model.name, loaded), config=architecture),
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
        if init.context_len < config.l_max:
            raise ConfigError(
                f"init.context_len is {init.context_len}, and the model takes {config.l_max} tokens already. Shorter "
                "windows need no change: set data.seqlen."
            )
        return dataclasses.replace(config, extended_len=init.context_len)
    context_len = init.context_len or config.context_len
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


def _name(asked: str, loaded: LoadedModel) -> str:
    """Return the registered name that is nearest to a checkpoint: its own, the one asked for, or one of its shape."""
    family, config = model_type_of(loaded.config), loaded.config
    made_as = loaded.provenance.get("config")
    model = made_as.get("model") if isinstance(made_as, dict) else None
    own = model.get("name") if isinstance(model, dict) else None
    rows = [row for row in MODELS.values() if row.family == family]
    for name in (own, asked):
        if name in [row.name for row in rows]:
            return str(name)
    shape = (config.d_model, config.n_layers)
    alike = [row.name for row in rows if (row.config.d_model, row.config.n_layers) == shape]
    return (alike or [rows[0].name])[0]


def _with_changes(model: ModelConfig, loaded: LoadedModel) -> AnyConfig:
    """Return the architecture of a checkpoint with what may differ; anything else that was set has to agree with it."""
    start, row = loaded.config, untrained(get_model(model.name).config)
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(model.config):
        asked = getattr(model.config, field.name)
        if asked == getattr(row, field.name):
            continue
        if not hasattr(start, field.name) or (
            field.name not in MAY_DIFFER and asked != getattr(start, field.name)
        ):
            found = getattr(start, field.name, "no such field")
            raise ConfigError(
                f"model.{field.name}={asked} does not go with init.checkpoint: the architecture comes from there, a "
                f"{model_type_of(start)} model with {field.name}={found}. Leave it out."
            )
        changes[field.name] = asked
    if isinstance(start, StripedHyena2Config):
        return start
    return dataclasses.replace(start, **{name: changes[name] for name in MAY_DIFFER if name in changes})
