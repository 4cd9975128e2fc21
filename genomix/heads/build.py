"""A model with a head from the settings that a checkpoint holds."""

from collections.abc import Mapping
from typing import Any, TypeAlias, get_args

import torch
from jaxtyping import UInt8
from torch import Tensor

from genomix.heads.backbone import Backbone
from genomix.heads.classifier import SequenceClassifier
from genomix.heads.pooling import N_WINDOWS
from genomix.heads.sequence_model import HeadKind, SequenceModel
from genomix.heads.targets import MultiLabelClassifier, SequenceRegressor
from genomix.heads.token_classifier import TokenClassifier
from genomix.heads.variant_pair import VariantPairClassifier
from genomix.models.hyenadna.model import HyenaDNA

HeadModel: TypeAlias = SequenceModel | TokenClassifier
_POOLED: dict[str, type[SequenceModel]] = {
    kind.kind: kind
    for kind in (SequenceClassifier, MultiLabelClassifier, SequenceRegressor, VariantPairClassifier)
}


def head_kind(settings: Mapping[str, Any]) -> HeadKind:
    """Return the kind of head that settings describe; those of the first checkpoints name none.

    Raises:
        ValueError: if it is not known.
    """
    kind = settings.get("kind", "classifier")
    if kind not in get_args(HeadKind):
        raise ValueError(f"its kind is {kind!r}; there are {', '.join(get_args(HeadKind))}.")
    known: HeadKind = kind
    return known


def size_name(kind: HeadKind) -> str:
    """Return what the number of outputs is called in the settings of a head: ``n_classes``."""
    return "n_classes" if kind == TokenClassifier.kind else _POOLED[kind].size_name


def build_head(
    model: HyenaDNA | Backbone, settings: Mapping[str, Any], complement: UInt8[Tensor, " 256"] | None = None
) -> HeadModel:
    """Return a model of what `head_settings` returned, on the backbone of a language model.

    Args:
        model: Language model or backbone.
        settings: Of the head.
        complement: Id of the complementary base for each id, for a head that sees both strands; a checkpoint brings
            it with its weights.

    Raises:
        ValueError: if a setting is missing or impossible.
    """
    kind = head_kind(settings)
    options: dict[str, Any] = {
        "dropout": float(settings.get("dropout", 0.0)),
        "hidden": _whole(settings, "hidden", 0),
        "rc_invariant": bool(settings.get("rc_invariant", False)),
    }
    n_outputs = _whole(settings, size_name(kind))
    built: HeadModel
    if kind == "token_classifier":
        built = TokenClassifier(model, n_outputs, lookahead=_whole(settings, "lookahead", 0), **options)
    else:
        if kind == "variant_classifier":
            options["pair"] = settings.get("pair", "missing")
        if kind == "regressor":
            options["link"] = settings.get("link", "identity")
        built = _POOLED[kind](
            model,
            n_outputs,
            pooling=settings.get("pooling", "missing"),
            n_windows=_whole(settings, "n_windows", N_WINDOWS),
            prompt_len=_whole(settings, "prompt_len", 0),
            prompt_dropout=float(settings.get("prompt_dropout", 0.0)),
            **options,
        )
    if complement is not None and built.rc_invariant:
        with torch.no_grad():
            built.get_buffer("complement").copy_(complement)
    return built


def _whole(settings: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = settings.get(name, default)
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is {value!r}; it must be a whole number.")
    return value
