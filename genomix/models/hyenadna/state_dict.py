"""Key layouts of published HyenaDNA checkpoints, mapped to ours and back, as pure functions on dicts of tensors.

Ours is the official code's own naming without what can be recomputed: one ``freq`` a filter (index 1; the others are
the same tensor), no ``pos_emb.z``, ``pos_emb.t``, ``modulation.deltas`` unless positions are trainable, no ``lm_head``
when it is tied, and a classification head under ``head.output_transform``. docs/models.md lists the layouts.
"""

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.operators.implicit_filter import decay_rates
from genomix.operators.positional import PositionalFeatures
from genomix_data.errors import CheckpointError, preview

Layout = Literal["native", "repo", "repo_checkpointed", "lightning", "standalone", "hf"]
LAYOUTS: tuple[Layout, ...] = ("native", "repo", "repo_checkpointed", "lightning", "standalone", "hf")

_EMBEDDING = "backbone.embeddings.word_embeddings.weight"
_HEAD = "head.output_transform."
_FOREIGN_HEADS = ("decoder.0.output_transform.", "head.output_transform.")
_RECOMPUTED = re.compile(r"\.filter_fn\.(pos_emb\.t|modulation\.deltas)$")
_POSITIONS = re.compile(r"\.filter_fn\.pos_emb\.z$")
_FREQUENCY = re.compile(r"\.implicit_filter\.(\d+)\.freq$")
_WRAPPED = re.compile(r"^(backbone\.layers\.\d+\.(?:mixer|mlp))\.layer\.")


def from_foreign(
    state: Mapping[str, Tensor], *, trainable_positions: bool = False
) -> tuple[dict[str, Tensor], Layout]:
    """Return the tensors under our names, and the layout that they came in.

    Keys that belong to no layout are kept as they are, for strict loading to name. An output matrix that equals the
    embedding is dropped as tied; one that differs is kept as ``lm_head.weight``.

    Args:
        state: A state dict of any layout, ours included.
        trainable_positions: Keep ``pos_emb.z``, for a model with ``lr_pos_emb`` other than 0.

    Raises:
        CheckpointError: if this is no HyenaDNA checkpoint, or tensors that should be one and the same differ.
    """
    layout = detect_layout(state)
    native: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = _native_name(key)
        if name is None or _RECOMPUTED.search(name) or (_POSITIONS.search(name) and not trainable_positions):
            continue
        name = _FREQUENCY.sub(".implicit_filter.1.freq", name)
        if name in native and not torch.equal(native[name], tensor):
            raise CheckpointError(
                f"{key!r} should be the same tensor as {name!r} (the sine layers of a filter share their frequency) "
                "but differs; the checkpoint was not written by the official code, or it is damaged."
            )
        native[name] = tensor
    if "lm_head.weight" in native and torch.equal(native["lm_head.weight"], native[_EMBEDDING]):
        del native["lm_head.weight"]
    return native, layout


def detect_layout(state: Mapping[str, Tensor]) -> Layout:
    """Return the layout of a state dict, read off its keys.

    Raises:
        CheckpointError: if the keys are not those of a HyenaDNA model.
    """
    bare = {key.removeprefix("model.").removeprefix("hyena.") for key in state}
    if _EMBEDDING not in bare or not any(".filter_fn." in key for key in bare):
        raise CheckpointError(
            f"this is not a HyenaDNA checkpoint: {_EMBEDDING!r} or its filters are missing. It has {preview(state)}."
        )
    if any(key.startswith("hyena.") for key in state):
        return "hf"
    if any(key.startswith("model.") for key in state):
        return "lightning"
    if any(_WRAPPED.match(key) for key in state):
        return "repo_checkpointed"
    if not any(_RECOMPUTED.search(key) for key in state):
        return "native"
    return "repo" if "lm_head.weight" in state else "standalone"


def to_layout(state: Mapping[str, Tensor], layout: Layout, config: HyenaDNAConfig) -> dict[str, Tensor]:
    """Return our tensors under the names of another layout, with what that layout holds besides.

    Args:
        state: Tensors under our names.
        layout: Where to; ``"native"`` gives a plain copy. ``"lightning"`` is the state dict of the official training
            checkpoints with the unwrapped names.
        config: Of the model; positions and decay rates are computed from it.

    Raises:
        CheckpointError: if the state dict is not in our layout.
    """
    if detect_layout(state) != "native":
        raise CheckpointError(f"expected tensors under our own names, got layout {detect_layout(state)!r}.")
    if layout == "native":
        return dict(state)
    if layout == "hf" and bool(state.get(f"{_HEAD}bias", torch.zeros(1)).any()):
        raise CheckpointError(
            "the Hugging Face classifier has no bias, and this head has one that is not zero."
        )
    foreign: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if layout == "hf" and key == f"{_HEAD}bias":
            continue
        for name in _shared_frequencies(key, config) if _FREQUENCY.search(key) else [key]:
            foreign[_foreign_name(name, layout)] = tensor
    for name, tensor in _recomputed(state, config).items():
        foreign.setdefault(_foreign_name(name, layout), tensor)
    if layout != "standalone" and not any(key.startswith(_HEAD) for key in state):
        head = "model.lm_head.weight" if layout == "lightning" else "lm_head.weight"
        foreign.setdefault(head, state[_EMBEDDING])
    return foreign


def _native_name(key: str) -> str | None:
    if "torchmetrics" in key:
        return None
    name = key.removeprefix("model.").removeprefix("hyena.")
    name = _WRAPPED.sub(r"\1.", name)
    for head in _FOREIGN_HEADS:
        if name.startswith(head):
            return _HEAD + name.removeprefix(head)
    return f"{_HEAD}weight" if name == "score.weight" else name


def _foreign_name(name: str, layout: Layout) -> str:
    if layout == "repo_checkpointed":
        return re.sub(r"^(backbone\.layers\.\d+\.(?:mixer|mlp))\.", r"\1.layer.", name)
    if name.startswith(_HEAD) and layout in ("repo", "lightning"):
        return "decoder.0.output_transform." + name.removeprefix(_HEAD)
    if layout == "lightning":
        return f"model.{name}"
    if layout == "hf" and name == f"{_HEAD}weight":
        return "score.weight"
    if layout == "hf" and name.startswith("backbone."):
        return f"hyena.{name}"
    return name


def _shared_frequencies(key: str, config: HyenaDNAConfig) -> list[str]:
    prefix = _FREQUENCY.sub(".implicit_filter.", key)
    return [f"{prefix}{2 * layer + 1}.freq" for layer in range(config.n_inner_mlps + 1)]


def _recomputed(state: Mapping[str, Tensor], config: HyenaDNAConfig) -> dict[str, Tensor]:
    weight = state[_EMBEDDING]
    positions = PositionalFeatures(config.emb_dim, config.l_max)
    z, t = positions(config.l_max, dtype=weight.dtype, device=weight.device)
    deltas = decay_rates(
        config.d_model * (config.order - 1),
        fast_decay_pct=config.fast_decay_pct,
        slow_decay_pct=config.slow_decay_pct,
        decay_target=config.decay_target,
        device=weight.device,
    ).to(weight.dtype)
    recomputed: dict[str, Tensor] = {}
    for layer in range(config.n_layers):
        prefix = f"backbone.layers.{layer}.mixer.filter_fn."
        recomputed[f"{prefix}pos_emb.z"] = z[None].clone()
        recomputed[f"{prefix}pos_emb.t"] = t[None, :, None].clone()
        recomputed[f"{prefix}modulation.deltas"] = deltas[None, None].clone()
    return recomputed
