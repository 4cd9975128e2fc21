"""The model of a run that starts from a checkpoint: name and architecture are those of the checkpoint."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from genomix.checkpoint.files import read_settings
from genomix.checkpoint.shipped import located
from genomix.models.families import AnyConfig, config_of, model_type_of
from genomix.models.registry import MODELS, get_model
from genomix.training.config import DEFAULT_MODEL, ModelConfig
from genomix_data.errors import ConfigError

MAY_DIFFER = ("embed_dropout", "resid_dropout")
"""What a run may set otherwise than its checkpoint: settings of training, not of the weights."""


def model_of_checkpoint(
    asked: ModelConfig,
    start: AnyConfig,
    provenance: Mapping[str, Any],
    *,
    defaults: AnyConfig,
    source: str,
) -> ModelConfig:
    """Return the model as it is run; what was set of it may agree with the checkpoint, and nothing else but dropout.

    Args:
        asked: What the settings say of the model.
        start: Architecture of the checkpoint.
        provenance: How the checkpoint was made.
        defaults: Architecture of ``asked.name`` where nothing was set.
        source: Which setting names the checkpoint, for messages.

    Raises:
        ConfigError: if something was set that the checkpoint has not.
    """
    family = model_type_of(start)
    if asked.name != DEFAULT_MODEL and get_model(asked.name).family != family:
        raise ConfigError(
            f"model={asked.name} does not go with {source}: the architecture comes from there, a {family} model. "
            "Leave it out."
        )
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(asked.config):
        name, value = field.name, getattr(asked.config, field.name)
        if value == getattr(defaults, name) or (hasattr(start, name) and value == getattr(start, name)):
            continue
        if name not in MAY_DIFFER or not hasattr(start, name):
            found = getattr(start, name, "no such field")
            raise ConfigError(
                f"model.{name}={value} does not go with {source}: the architecture comes from there, a {family} model "
                f"with {name}={found}. Leave it out."
            )
        changes[name] = value
    return ModelConfig(
        name=_nearest_name(asked.name, start, provenance),
        config=dataclasses.replace(start, **changes),
        init=asked.init,
    )


def finetuned_model(model: ModelConfig) -> tuple[ModelConfig, str | None]:
    """Return the model that fine-tuning starts from ``model.init``, and the hash of its weights, which are not read.

    Raises:
        CheckpointError: if there is no such checkpoint.
        ConfigError: if it is of another kind, or as `model_of_checkpoint`.
    """
    assert model.init is not None
    settings = read_settings(located(model.init))
    start = config_of(settings["model_type"], settings["config"])
    return (
        model_of_checkpoint(
            model,
            start,
            settings["provenance"],
            defaults=get_model(model.name).config,
            source=f"model.init={model.init}",
        ),
        settings.get("weights_sha256"),
    )


def _nearest_name(asked: str, start: AnyConfig, provenance: Mapping[str, Any]) -> str:
    """Return the registered name that is nearest to a checkpoint: its own, the one asked for, or one of its shape."""
    made_as = provenance.get("config")
    model = made_as.get("model") if isinstance(made_as, Mapping) else None
    own = model.get("name") if isinstance(model, Mapping) else None
    rows = [row for row in MODELS.values() if row.family == model_type_of(start)]
    for name in (own, asked):
        if name in [row.name for row in rows]:
            return str(name)
    shape = (start.d_model, start.n_layers)
    alike = [row.name for row in rows if (row.config.d_model, row.config.n_layers) == shape]
    return (alike or [rows[0].name])[0]
