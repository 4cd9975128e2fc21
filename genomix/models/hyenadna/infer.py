"""The config of a HyenaDNA checkpoint, from another program's settings or from the shapes of its tensors."""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.operators.implicit_filter import decay_rates
from genomix.operators.positional import PositionalFeatures
from genomix_data.errors import CheckpointError

_MIXER = "backbone.layers.0.mixer."
_CLOSE = 1e-5

_HUGGING_FACE = {  # theirs -> ours
    "d_model": "d_model",
    "n_layer": "n_layers",
    "d_inner": "d_inner",
    "max_seq_len": "l_max",
    "vocab_size": "vocab_size",
    "pad_vocab_size_multiple": "pad_vocab_size_multiple",
    "hyena_order": "order",
    "emb_dim": "emb_dim",
    "filter_order": "filter_order",
    "num_inner_mlps": "n_inner_mlps",
    "activation_freq": "w",
    "short_filter_order": "short_filter_order",
    "embed_dropout": "embed_dropout",
    "hyena_dropout": "resid_dropout",
    "layer_norm_epsilon": "layer_norm_eps",
    "initializer_range": "initializer_range",
}
_REPOSITORY_TOP = (
    "d_model",
    "d_inner",
    "vocab_size",
    "pad_vocab_size_multiple",
    "embed_dropout",
    "resid_dropout",
)
_REPOSITORY_LAYER = (
    "l_max",
    "order",
    "emb_dim",
    "filter_order",
    "w",
    "short_filter_order",
    "modulate",
    "normalized",
)


def fields_of_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a ``config.json`` of the Hugging Face port or of the official code gives; maybe none."""
    layer = settings.get("layer")
    if isinstance(layer, Mapping):
        found = {name: settings[name] for name in _REPOSITORY_TOP if name in settings}
        found |= {name: layer[name] for name in _REPOSITORY_LAYER if name in layer}
        if "n_layer" in settings:
            found["n_layers"] = settings["n_layer"]
        return found
    return {ours: settings[theirs] for theirs, ours in _HUGGING_FACE.items() if theirs in settings}


def settings_for_hugging_face(config: HyenaDNAConfig) -> dict[str, Any]:
    """Return the ``config.json`` that the Hugging Face port reads."""
    values = {theirs: getattr(config, ours) for theirs, ours in _HUGGING_FACE.items()}
    return {
        **values,
        "architectures": ["HyenaDNAForCausalLM"],
        "model_type": "hyenadna",
        "pad_token_id": 4,
        "tie_word_embeddings": False,
        "train_freq": True,
        "use_bias": True,
        "hyena_filter_dropout": 0.0,
    }


def fields_of_shapes(native: Mapping[str, Tensor], foreign: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the fields that tensors determine.

    Args:
        native: Under our names.
        foreign: As they came, with the positional features if they are there; without them ``l_max`` is not known.

    Raises:
        CheckpointError: if the tensors are not those of a whole model.
    """
    try:
        rows, d_model = native["backbone.embeddings.word_embeddings.weight"].shape
        width = native[f"{_MIXER}in_proj.weight"].shape[0]
        found: dict[str, Any] = {
            "d_model": d_model,
            "d_inner": native["backbone.layers.0.mlp.fc1.weight"].shape[0],
            "order": width // d_model - 1,
            "short_filter_order": native[f"{_MIXER}short_filter.weight"].shape[2],
        }
        first = native[f"{_MIXER}filter_fn.implicit_filter.0.weight"]
    except KeyError as error:
        raise CheckpointError(
            f"the checkpoint lacks {error.args[0]!r}: it is incomplete. Copy it again."
        ) from error
    found["n_layers"] = 1 + max(
        int(match[1]) for key in native if (match := re.match(r"backbone\.layers\.(\d+)\.", key))
    )
    found |= {"vocab_size": 12, "pad_vocab_size_multiple": 8} if rows == 16 else {"vocab_size": rows}
    if rows % 8:
        found["pad_vocab_size_multiple"] = 1
    n_linear = len(
        [key for key in native if re.match(_MIXER + r"filter_fn\.implicit_filter\.\d+\.weight", key)]
    )
    found["emb_dim"] = first.shape[1]
    if n_linear == 1:
        found["linear_mixer"] = True
    else:
        found |= {"filter_order": first.shape[0], "n_inner_mlps": n_linear - 2}
    positions = _first(foreign, ".filter_fn.pos_emb.z")
    if positions is not None:
        found["l_max"] = positions.shape[-2]
    found["tie_embeddings"] = "lm_head.weight" not in native
    return found


def positions_were_trained(foreign: Mapping[str, Tensor], config: HyenaDNAConfig) -> bool:
    """Return whether stored positional features are others than the formula gives."""
    computed = PositionalFeatures(config.emb_dim, config.l_max)(
        config.l_max, dtype=torch.float32, device=torch.device("cpu")
    )[0]
    stored = [tensor for key, tensor in foreign.items() if key.endswith(".filter_fn.pos_emb.z")]
    if any(tensor.shape[-2:] != computed.shape for tensor in stored):
        return True  # of another model: strict loading names the shapes
    return any(float((tensor.float().squeeze(0) - computed).abs().max()) > _CLOSE for tensor in stored)


def decay_fields(foreign: Mapping[str, Tensor], config: HyenaDNAConfig) -> dict[str, Any]:
    """Return the decay fields where stored decay rates are others than the config's; else nothing.

    Raises:
        CheckpointError: if they are not evenly spaced, which no config describes.
    """
    stored = _first(foreign, ".filter_fn.modulation.deltas")
    if stored is None:
        return {}
    rates = stored.float().flatten()
    if _rates_fit(rates, config.fast_decay_pct, config.slow_decay_pct, config.decay_target):
        return {}
    slow, fast = (math.log(config.decay_target) / float(rates[end]) for end in (0, -1))
    if not _rates_fit(rates, fast, slow, config.decay_target):
        raise CheckpointError(
            "the filters' decay rates (modulation.deltas) are not evenly spaced; genomix cannot express them."
        )
    return {"fast_decay_pct": fast, "slow_decay_pct": slow}


def _rates_fit(rates: Tensor, fast: float, slow: float, target: float) -> bool:
    expected = decay_rates(
        len(rates), fast_decay_pct=fast, slow_decay_pct=slow, decay_target=target, device=rates.device
    )
    return bool(torch.allclose(rates, expected, rtol=1e-4, atol=1e-5))


def _first(tensors: Mapping[str, Tensor], ending: str) -> Tensor | None:
    return next((tensor for key, tensor in tensors.items() if key.endswith(ending)), None)
