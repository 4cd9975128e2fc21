"""The model families: how each is named in a checkpoint, its config, how to build it. Importing this costs no torch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix_data.errors import ConfigError

if TYPE_CHECKING:
    from genomix.models.hyenadna.model import HyenaDNA
    from genomix.models.stripedhyena2.model import StripedHyena2

AnyConfig: TypeAlias = HyenaDNAConfig | StripedHyena2Config
AnyLanguageModel: TypeAlias = "HyenaDNA | StripedHyena2"

CONFIGS: Mapping[str, type[HyenaDNAConfig] | type[StripedHyena2Config]] = {
    "hyenadna": HyenaDNAConfig,
    "stripedhyena2": StripedHyena2Config,
}
"""The config of each ``model_type``, which is also the name of its folder under `genomix.models`."""


def model_type_of(config: AnyConfig) -> str:
    """Return the ``model_type`` that checkpoints of such a model have."""
    return next(name for name, kind in CONFIGS.items() if isinstance(config, kind))


def config_of(model_type: str, values: Mapping[str, Any]) -> AnyConfig:
    """Return the config of a model of this type.

    Raises:
        ConfigError: if there is no such type, or the values do not describe one.
    """
    if model_type not in CONFIGS:
        raise ConfigError(f"model type {model_type!r} is not known; there are {', '.join(CONFIGS)}.")
    return CONFIGS[model_type].from_dict(values)


def logit_rows(config: AnyConfig) -> int:
    """Return the number of logits of a token: rows of the output matrix, padding included."""
    return config.padded_vocab_size if isinstance(config, HyenaDNAConfig) else config.vocab_size


@overload
def build_language_model(config: HyenaDNAConfig) -> "HyenaDNA": ...
@overload
def build_language_model(config: StripedHyena2Config) -> "StripedHyena2": ...
@overload
def build_language_model(config: AnyConfig) -> "HyenaDNA | StripedHyena2": ...
def build_language_model(config: AnyConfig) -> "HyenaDNA | StripedHyena2":
    """Return a freshly initialized language model."""
    if isinstance(config, HyenaDNAConfig):
        from genomix.models.hyenadna.model import HyenaDNA

        return HyenaDNA(config)
    from genomix.models.stripedhyena2.model import StripedHyena2

    return StripedHyena2(config)
