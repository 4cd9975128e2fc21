"""The config of a StripedHyena 2 checkpoint, from another program's settings or from the shapes of its tensors."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from genomix_data.errors import CheckpointError

_SETTINGS = {  # of the inference code's config -> ours
    "hidden_size": "d_model",
    "num_attention_heads": "n_heads",
    "inner_mlp_size": "d_inner",
    "vocab_size": "vocab_size",
    "max_seqlen": "context_len",
    "hcm_filter_groups": "n_groups",
    "hcs_filter_length": "se_filter_len",
    "hcm_filter_length": "mr_filter_len",
    "state_size": "n_modes",
    "short_filter_length": "featurizer_len",
    "interleave": "is_interleaved",
    "rotary_emb_base": "rope_base",
    "rotary_emb_scaling_factor": "position_scale",
    "eps": "norm_eps",
    "tie_embeddings": "tie_embeddings",
    "qkv_proj_bias": "has_qkv_bias",
    "hyena_out_proj_bias": "has_out_bias",
}
_LAYERS = {"hcs_layer_idxs": "S", "hcm_layer_idxs": "M", "hcl_layer_idxs": "L", "attn_layer_idxs": "A"}

NOT_IN_SHAPES = ("position_scale", "context_len", "weights_precision", "rope_base", "gelu_blocks")
"""Fields that change the numbers, or how the weights may be run, and that no tensor's shape tells."""


def fields_of_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a config of the inference code (vortex) gives; none for one of another kind."""
    if not all(name in settings for name in _LAYERS):
        return {}
    found = {ours: settings[theirs] for theirs, ours in _SETTINGS.items() if theirs in settings}
    letters = {index: letter for name, letter in _LAYERS.items() for index in settings[name]}
    found["pattern"] = "".join(letters[index] for index in sorted(letters))
    for name in ("rope_base", "position_scale"):
        if name in found:
            found[name] = float(found[name])
    if settings.get("use_fp8_input_projections"):
        found["weights_precision"] = "fp8"
    if not settings.get("evo2_style_activations", False):
        found["gelu_blocks"] = None
    return found


def fields_of_shapes(state: Mapping[str, Tensor], layout: Literal["vortex", "savanna"]) -> dict[str, Any]:
    """Return the fields that the tensors of a foreign checkpoint determine.

    Raises:
        CheckpointError: if the tensors are not those of a whole model.
    """
    try:
        return _vortex_fields(state) if layout == "vortex" else _savanna_fields(state)
    except (KeyError, StopIteration, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint lacks a tensor that every StripedHyena 2 model has ({error}): it is incomplete. "
            "Copy it again."
        ) from error


def _vortex_fields(state: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = _blocks(state, r"blocks\.(\d+)\.(.+)", 0)
    rows, d_model = state["embedding_layer.weight"].shape
    pattern = ""
    for index in range(len(blocks)):
        names = blocks[index]
        if any(name.startswith("inner_mha_cls.") for name in names):
            pattern += "A"
        elif "filter.log_poles" in names:
            pattern += "L"
        else:
            pattern += "M" if "filter.D" in names else "S"
    found = {
        "pattern": pattern,
        "vocab_size": rows,
        "d_model": d_model,
        "d_inner": blocks[0]["mlp.l1.weight"].shape[0],
        "has_out_bias": any(name.endswith(("out_proj.bias", "dense.bias")) for name in blocks[0]),
        "has_qkv_bias": any("inner_mha_cls.Wqkv.bias" in names for names in blocks.values()),
    }
    unembedding = state.get("unembed.weight")
    found["tie_embeddings"] = unembedding is None or torch.equal(unembedding, state["embedding_layer.weight"])
    for index, letter in enumerate(pattern):
        names = blocks[index]
        if letter in "SM":
            groups, _, taps = names["filter.h"].shape
            found |= {"n_groups": groups, "se_filter_len" if letter == "S" else "mr_filter_len": taps}
        elif letter == "L":
            found["n_modes"] = names["filter.residues"].shape[1]
        if letter != "A":
            found["featurizer_len"] = names["filter.short_filter_weight"].shape[-1]
    return found | _rotary(d_model, state, "rotary_emb.inv_freq")


def _savanna_fields(state: Mapping[str, Tensor]) -> dict[str, Any]:
    bare = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    blocks = {
        index: names
        for index, names in _blocks(bare, r"sequential\.(\d+)\.(.+)", 2).items()
        if "mlp.w1.weight" in names
    }
    rows, d_model = bare["sequential.0.word_embeddings.weight"].shape
    pattern = ""
    found: dict[str, Any] = {"vocab_size": rows, "d_model": d_model}
    for index in range(len(blocks)):
        names = blocks[index]
        if "mixer.hyena_proj_conv.short_conv_weight" not in names:
            pattern += "A"
            continue
        found["featurizer_len"] = names["mixer.hyena_proj_conv.short_conv_weight"].shape[-1]
        if "mixer.mixer.filter.p" in names:
            pattern += "L"
            found["n_modes"] = names["mixer.mixer.filter.R"].shape[1]
        elif "mixer.mixer.filter.h" in names:
            pattern += "M"
            found["n_groups"] = names["mixer.mixer.filter.h"].shape[0]
        else:
            pattern += "S"
            groups, _, taps = names["mixer.mixer.short_conv.short_conv_weight"].shape
            found |= {"n_groups": groups, "se_filter_len": taps}
    found |= {
        "pattern": pattern,
        "d_inner": blocks[0]["mlp.w1.weight"].shape[0],
        "has_out_bias": "mixer.dense.bias" in blocks[0],
        "has_qkv_bias": any(
            letter == "A" and "mixer.dense_projection.bias" in blocks[index]
            for index, letter in enumerate(pattern)
        ),
    }
    return found | _rotary(d_model, bare, "rotary_emb.inv_freq")


def _blocks(state: Mapping[str, Tensor], pattern: str, first: int) -> dict[int, dict[str, Tensor]]:
    blocks: dict[int, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        match = re.match(pattern, key)
        if match and int(match[1]) >= first:
            blocks.setdefault(int(match[1]) - first, {})[match[2]] = tensor
    return blocks


def _rotary(d_model: int, state: Mapping[str, Tensor], ending: str) -> dict[str, Any]:
    inv_freq = next((tensor for key, tensor in state.items() if key.endswith(ending)), None)
    if inv_freq is None:
        return {}
    half = len(inv_freq)
    found: dict[str, Any] = {"n_heads": d_model // (2 * half)}
    if half > 1:
        estimate = float(inv_freq[-1].double()) ** (-half / (half - 1))
        base = 10.0 ** round(torch.log10(torch.tensor(estimate)).item())
        if abs(estimate / base - 1) < 0.1:
            found["rope_base"] = base
    return found
