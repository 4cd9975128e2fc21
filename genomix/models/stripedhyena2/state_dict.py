"""Key layouts of published Evo 2 checkpoints, mapped to ours and back, as pure functions on dicts of tensors.

``vortex`` is the layout of the inference code (``evo2_7b.pt``), ``savanna`` that of the training code. Between vortex
and ours the mapping is one to one; savanna holds filters as products, of which a given filter does not determine the
factors: the way back chooses ``gamma = 0``, ``p = log(-log_poles)`` and ``decay = 1``, and says so in the report.
"""

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix_data.errors import CheckpointError, preview

Layout = Literal["native", "vortex", "savanna"]

_VORTEX_TOP = {"embedding_layer.weight": "embedding.weight", "norm.scale": "norm.scale"}
_VORTEX_BLOCK = {  # vortex name -> ours, behind "blocks.i."; a name ending in a dot stands for all that begin with it
    "pre_norm.scale": "pre_norm.scale",
    "post_norm.scale": "post_norm.scale",
    "mlp.": "mlp.",
    "inner_mha_cls.Wqkv.": "mixer.qkv.",
    "inner_mha_cls.out_proj.": "mixer.out_proj.",
    "inner_mha_cls.rotary_emb.inv_freq": "mixer.inv_freq",
    "projections.": "mixer.projections.",
    "out_filter_dense.": "mixer.out_proj.",
    "filter.short_filter_weight": "mixer.featurizer.weight",
    "filter.": "mixer.filter.",
}
_SAVANNA_BLOCK = {  # savanna name -> vortex name, behind the block's prefix
    "input_layernorm.": "pre_norm.",
    "pre_mlp_layernorm.": "post_norm.",
    "mlp.w1.": "mlp.l1.",
    "mlp.w2.": "mlp.l2.",
    "mlp.w3.": "mlp.l3.",
    "mixer.hyena_proj_conv.short_conv_weight": "filter.short_filter_weight",
    "mixer.mixer.short_conv.short_conv_weight": "filter.h",
    "mixer.mixer.conv_bias": "filter.D",
    "mixer.rotary_emb.inv_freq": "inner_mha_cls.rotary_emb.inv_freq",
}
_UNUSED = re.compile(
    r"(\._extra_state|mixer\.filter\.t|post_attention_layernorm\..*|outer_mlp_layernorm\..*)$"
)


def detect_layout(keys: Mapping[str, object]) -> Layout:
    """Return the layout of a state dict, read off its keys.

    Raises:
        CheckpointError: if they are not those of a StripedHyena 2 model.
    """
    bare = {key.removeprefix("module.") for key in keys}
    if "sequential.0.word_embeddings.weight" in bare:
        return "savanna"
    if "embedding_layer.weight" in bare and any(".mlp.l1." in key for key in bare):
        return "vortex"
    if "embedding.weight" in bare and any(".mixer." in key for key in bare):
        return "native"
    raise CheckpointError(f"this is not a StripedHyena 2 checkpoint: it has {preview(keys)}.")


def from_vortex(state: Mapping[str, Tensor], config: StripedHyena2Config) -> dict[str, Tensor]:
    """Return vortex tensors under our names; what the forward pass does not use is left out.

    Unknown keys are kept under their own name, for strict loading to name them.
    """
    native: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if _UNUSED.search(key) or (key == "unembed.weight" and config.tie_embeddings):
            continue
        match = re.match(r"blocks\.(\d+)\.(.+)", key)
        name = (
            f"blocks.{match[1]}.{_renamed(match[2], _VORTEX_BLOCK)}" if match else _VORTEX_TOP.get(key, key)
        )
        if key == "unembed.weight":
            name = "unembedding.weight"
        native[name] = _squeezed(name, tensor)
    return native


def to_vortex(state: Mapping[str, Tensor], config: StripedHyena2Config) -> dict[str, Tensor]:
    """Return our tensors in the vortex layout, the duplicate ``unembed.weight`` of tied models included."""
    back = {new: old for old, new in _VORTEX_TOP.items()}
    foreign: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = re.match(r"blocks\.(\d+)\.(.+)", name)
        if match is None:
            foreign[back.get(name, name.replace("unembedding.", "unembed."))] = tensor
            continue
        kind = config.pattern[int(match[1])]
        foreign[f"blocks.{match[1]}.{_vortex_name(match[2], is_attention=kind == 'A')}"] = _unsqueezed(
            match[2], tensor
        )
    if config.tie_embeddings:
        foreign["unembed.weight"] = state["embedding.weight"]
    return foreign


def from_savanna(state: Mapping[str, Tensor], config: StripedHyena2Config) -> dict[str, Tensor]:
    """Return savanna tensors under our names: ``log_poles = -exp(p + gamma)`` and ``h = (h decay)[:, :taps]``."""
    blocks: dict[int, dict[str, Tensor]] = {}
    vortex: dict[str, Tensor] = {}
    for key, tensor in state.items():
        bare = key.removeprefix("module.")
        match = re.match(r"sequential\.(\d+)\.(.+)", bare)
        if match is None or _UNUSED.search(bare):
            if match is None:
                vortex[key] = tensor
            continue
        index = int(match[1]) - 2
        if match[2] == "word_embeddings.weight":
            vortex["embedding_layer.weight"] = tensor
        elif match[2] == "norm.weight":
            vortex["norm.scale"] = tensor
        else:
            blocks.setdefault(index, {})[match[2]] = tensor
    for index, tensors in blocks.items():
        kind = config.pattern[index] if 0 <= index < config.n_layers else "?"
        for name, tensor in _savanna_block(tensors, kind, config).items():
            vortex[f"blocks.{index}.{name}"] = tensor
    return from_vortex(vortex, config)


def to_savanna(state: Mapping[str, Tensor], config: StripedHyena2Config) -> dict[str, Tensor]:
    """Return our tensors in the savanna layout.

    A filter does not determine its factors there; this chooses ``gamma = 0``, ``p = log(-log_poles)``, ``decay = 1``.

    Raises:
        CheckpointError: if a pole is not negative, which that layout cannot hold.
    """
    back = {new: old for old, new in _SAVANNA_BLOCK.items()}
    foreign: dict[str, Tensor] = {}
    for key, tensor in to_vortex(state, config).items():
        match = re.match(r"blocks\.(\d+)\.(.+)", key)
        if match is None:
            top = {
                "embedding_layer.weight": "0.word_embeddings.weight",
                "norm.scale": f"{config.n_layers + 3}.norm.weight",
            }
            if key in top:
                foreign[f"sequential.{top[key]}"] = tensor
            continue
        index, name = int(match[1]), match[2]
        prefix = f"sequential.{index + 2}."
        if name == "filter.log_poles":
            if bool((tensor >= 0).any()):
                raise CheckpointError(
                    f"block {index} has a pole that does not decay; savanna's layout cannot hold it."
                )
            foreign[prefix + "mixer.mixer.filter.p"] = torch.log(-tensor.squeeze(-1))
            foreign[prefix + "mixer.mixer.filter.gamma"] = torch.zeros_like(tensor.squeeze(-1))
        elif name == "filter.residues":
            foreign[prefix + "mixer.mixer.filter.R"] = tensor
        elif name == "filter.h" and config.pattern[index] == "M":
            foreign[prefix + "mixer.mixer.filter.h"] = tensor.squeeze(1)
            foreign[prefix + "mixer.mixer.filter.decay"] = torch.ones_like(tensor.squeeze(1))
        elif name == "filter.short_filter_weight":
            foreign[prefix + "mixer.hyena_proj_conv.short_conv_weight"] = tensor.squeeze(1)
        elif name.startswith(("projections.", "inner_mha_cls.Wqkv.")):
            foreign[f"{prefix}mixer.dense_projection.{name.rsplit('.', 1)[1]}"] = tensor
        elif name.startswith(("out_filter_dense.", "inner_mha_cls.out_proj.")):
            foreign[f"{prefix}mixer.dense.{name.rsplit('.', 1)[1]}"] = tensor
        else:
            foreign[prefix + _renamed(name, back).replace("norm.scale", "norm.weight")] = tensor
    return foreign


def _renamed(name: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        if name == old or (old.endswith(".") and name.startswith(old)):
            return new + name[len(old) :]
    return name


def _vortex_name(name: str, *, is_attention: bool) -> str:
    own = {new: old for old, new in _VORTEX_BLOCK.items() if old.startswith("inner_mha_cls.") == is_attention}
    shared = {new: old for old, new in _VORTEX_BLOCK.items() if not new.startswith("mixer.")}
    return _renamed(name, {**own, **shared})


def _squeezed(name: str, tensor: Tensor) -> Tensor:
    if name.endswith(("mixer.featurizer.weight", "mixer.filter.h")) and tensor.ndim == 3:
        return tensor.squeeze(1)
    if name.endswith("mixer.filter.log_poles") and tensor.ndim == 3:
        return tensor.squeeze(-1)
    return tensor


def _unsqueezed(name: str, tensor: Tensor) -> Tensor:
    if name in ("mixer.featurizer.weight", "mixer.filter.h"):
        return tensor.unsqueeze(1)
    return tensor.unsqueeze(-1) if name == "mixer.filter.log_poles" else tensor


def _savanna_block(
    tensors: Mapping[str, Tensor], kind: str, config: StripedHyena2Config
) -> dict[str, Tensor]:
    rest = dict(tensors)
    block: dict[str, Tensor] = {}
    p, gamma, residues = (rest.pop(f"mixer.mixer.filter.{name}", None) for name in ("p", "gamma", "R"))
    if p is not None and gamma is not None:
        block["filter.log_poles"] = (-torch.exp(p.float()) * torch.exp(gamma.float())).unsqueeze(-1)
    if residues is not None:
        block["filter.residues"] = residues
    h, decay = (rest.pop(f"mixer.mixer.filter.{name}", None) for name in ("h", "decay"))
    if h is not None and decay is not None:
        taps = config.mr_filter_len
        block["filter.h"] = (h[:, :taps].float() * decay[:, :taps].float()).to(h.dtype).unsqueeze(1)
    dense = {
        "mixer.dense_projection.": "inner_mha_cls.Wqkv." if kind == "A" else "projections.",
        "mixer.dense.": "inner_mha_cls.out_proj." if kind == "A" else "out_filter_dense.",
    }
    for name, tensor in rest.items():
        renamed = _renamed(name, {**_SAVANNA_BLOCK, **dense}).replace("norm.weight", "norm.scale")
        block[renamed] = tensor
    return block
