"""A model with a head from the settings that a checkpoint holds."""

from collections.abc import Mapping
from typing import Any, get_args

from genomix.heads.classifier import SequenceClassifier
from genomix.heads.pooling import N_WINDOWS
from genomix.heads.sequence_model import HeadKind, SequenceModel
from genomix.heads.targets import MultiLabelClassifier, SequenceRegressor
from genomix.heads.token_classifier import TokenClassifier
from genomix.models.hyenadna.model import HyenaDNA

HeadModel = SequenceModel | TokenClassifier
_POOLED: dict[str, type[SequenceModel]] = {
    kind.kind: kind for kind in (SequenceClassifier, MultiLabelClassifier, SequenceRegressor)
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


def build_head(model: HyenaDNA, settings: Mapping[str, Any]) -> HeadModel:
    """Return a model of what `head_settings` returned, on the backbone of a language model.

    Raises:
        ValueError: if a setting is missing or impossible.
    """
    kind = head_kind(settings)
    dropout, hidden = float(settings.get("dropout", 0.0)), _whole(settings, "hidden", 0)
    if kind == "token_classifier":
        return TokenClassifier(
            model,
            _whole(settings, "n_classes"),
            lookahead=_whole(settings, "lookahead", 0),
            dropout=dropout,
            hidden=hidden,
        )
    pooled = _POOLED[kind]
    return pooled(
        model,
        _whole(settings, pooled.size_name),
        pooling=settings.get("pooling", "missing"),
        dropout=dropout,
        n_windows=_whole(settings, "n_windows", N_WINDOWS),
        hidden=hidden,
    )


def _whole(settings: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = settings.get(name, default)
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is {value!r}; it must be a whole number.")
    return value
