"""What model a foreign checkpoint is: its tensors under our names, its config, and what had to be assumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from genomix.checkpoint.files import compute_dtype_of
from genomix.checkpoint.foreign import HYENADNA_LAYOUTS, Foreign, Layout, scales_of
from genomix.models.families import AnyConfig, config_of
from genomix.models.hyenadna import infer as hyenadna_infer
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.hyenadna.state_dict import from_foreign, to_layout
from genomix.models.registry import MODELS, get_model
from genomix.models.stripedhyena2 import infer as stripedhyena2_infer
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.state_dict import from_savanna, from_vortex, to_savanna, to_vortex
from genomix_data.errors import CheckpointError, ConfigError

_SCALES = (".input_scale", ".weight_scale")
_HEAD_BIAS = "head.output_transform.bias"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a user says where a checkpoint does not.

    Attributes:
        model: Name of a registered size, whose config is taken.
        settings: Fields of a config, from a JSON file in our words or in the publisher's.
        shift: Of HyenaDNA's filters.
        pooling: Of a HyenaDNA classifier.
    """

    model: str | None = None
    settings: Mapping[str, Any] | None = None
    shift: float | None = None
    pooling: str | None = None


@dataclass
class Described:
    """A model: tensors under our names, config, head, what it runs in, and how each was found."""

    tensors: dict[str, Tensor]
    config: AnyConfig
    head_info: dict[str, Any] | None
    tokenizer: Mapping[str, Any]
    compute_dtype: torch.dtype | None = None
    matches: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def describe(foreign: Foreign, choices: Choices) -> Described:
    """Return the model that a checkpoint holds.

    Raises:
        ConfigError: if what is needed is neither in the checkpoint nor chosen.
        CheckpointError: if the tensors are not those of a whole model.
    """
    if foreign.layout == "native":
        assert foreign.settings is not None
        if choices.model or choices.settings or choices.shift is not None or choices.pooling:
            raise ConfigError(
                "a folder of genomix says what it is; leave out --model, --config, --shift, --pooling."
            )
        config = config_of(foreign.model_type, foreign.settings["config"])
        head = foreign.settings["head"]
        return Described(
            dict(foreign.tensors),
            config,
            head,
            foreign.settings["tokenizer"],
            compute_dtype=compute_dtype_of(foreign.settings),
        )
    if foreign.model_type == "hyenadna":
        return _hyenadna(foreign, choices)
    return _stripedhyena2(foreign, choices)


def to_foreign(tensors: Mapping[str, Tensor], config: AnyConfig, layout: Layout) -> dict[str, Tensor]:
    """Return our tensors under the names of another layout.

    Raises:
        ConfigError: if the layout is of another family.
        CheckpointError: if it cannot hold the model.
    """
    if layout == "native":
        return dict(tensors)
    if isinstance(config, HyenaDNAConfig):
        if layout not in HYENADNA_LAYOUTS:
            raise ConfigError(
                f"this is a HyenaDNA model; --to takes native or {', '.join(HYENADNA_LAYOUTS)}."
            )
        _check_reach(config, layout)
        return to_layout(tensors, HYENADNA_LAYOUTS[layout], config)
    if layout not in ("vortex", "savanna"):
        raise ConfigError("this is a StripedHyena 2 model; --to takes native, vortex or savanna.")
    held = {name: tensor for name, tensor in tensors.items() if not name.endswith(_SCALES)}
    return to_vortex(held, config) if layout == "vortex" else to_savanna(held, config)


def _check_reach(config: HyenaDNAConfig, layout: Layout) -> None:
    """Refuse what no published layout stores and no published code would do."""
    for name in ("filter_len", "extended_len"):
        if (value := getattr(config, name)) is not None:
            raise CheckpointError(
                f"{layout} has no place for {name} = {value}: other programs would run the filters that l_max gives. "
                f"Set {name} to null in config.json to write the weights alone."
            )


def from_layout(tensors: Mapping[str, Tensor], config: AnyConfig, layout: Layout) -> dict[str, Tensor]:
    """Return foreign tensors under our names; the inverse of `to_foreign` where that has one."""
    if layout == "native":
        return dict(tensors)
    if isinstance(config, HyenaDNAConfig):
        native, _ = from_foreign(tensors, trainable_positions=bool(config.lr_pos_emb))
        return native
    return (from_vortex if layout == "vortex" else from_savanna)(tensors, config)


def _hyenadna(foreign: Foreign, choices: Choices) -> Described:
    native, _ = from_foreign(foreign.tensors)
    notes: list[str] = []
    is_classifier = any(name.startswith("head.") for name in native)
    if is_classifier and "lm_head.weight" in native:
        del native["lm_head.weight"]
        notes.append("left out: lm_head.weight, which a classifier does not use")
    shapes = hyenadna_infer.fields_of_shapes(native, foreign.tensors)
    if choices.model is not None:
        row = get_model(choices.model).config
        if not isinstance(row, HyenaDNAConfig):
            raise ConfigError(f"{choices.model!r} is no HyenaDNA model, and the checkpoint holds one.")
        given: dict[str, Any] = {**row.to_dict(), "tie_embeddings": shapes["tie_embeddings"]}
        notes.append(f"config of {choices.model}, as asked")
    else:
        given = _given(foreign, choices, HyenaDNAConfig, hyenadna_infer.fields_of_settings, notes)
        given = {**given, **shapes}
        if "l_max" not in given:
            raise ConfigError(
                "the checkpoint holds no positional features, so l_max is not known, and l_max is part of the weights. "
                "Say which model it is with --model (`genomix models`)."
            )
    if choices.shift is not None:
        given["shift"] = choices.shift
        notes.append(f"shift = {choices.shift}, as asked")
    elif "shift" not in given or choices.model is not None:
        given["shift"] = 0.05
        notes.append(
            "shift = 0.05 assumed: no published checkpoint stores it. All published inference code has 0.05, the "
            "official pretraining code 0.0; --shift sets it"
        )
    if given.get("order", 2) > 2 and foreign.layout in ("hyenadna-standalone", "hyenadna-hf"):
        given.setdefault("channel_layout", "standalone")
    config = HyenaDNAConfig.from_dict(given)
    config = replace(config, **hyenadna_infer.decay_fields(foreign.tensors, config))
    if hyenadna_infer.positions_were_trained(foreign.tensors, config):
        config = replace(config, lr_pos_emb=1e-5)
        native, _ = from_foreign(foreign.tensors, trainable_positions=True)
        notes.append(
            "positional features are others than the formula gives: kept as trained (lr_pos_emb = 1e-5)"
        )
    head = _head(native, foreign.layout, choices, notes) if is_classifier else None
    matches = _matches(config, ("d_model", "n_layers", "d_inner", "l_max"))
    return Described(
        native,
        config,
        head,
        {"name": "char", "case": "upper", "ambiguous": "n"},
        matches=matches,
        notes=notes,
    )


def _head(native: dict[str, Tensor], layout: Layout, choices: Choices, notes: list[str]) -> dict[str, Any]:
    weight = native["head.output_transform.weight"]
    if _HEAD_BIAS not in native:
        native[_HEAD_BIAS] = torch.zeros(len(weight), dtype=weight.dtype)
        notes.append("the head has no bias there; a bias of zeros was added")
    pooling = choices.pooling or ("last" if layout == "hyenadna-hf" else "mean")
    if choices.pooling is None:
        notes.append(
            f"pooling {pooling!r} assumed for the classifier: checkpoints do not store it; --pooling sets it"
        )
    return {"kind": "classifier", "n_classes": len(weight), "pooling": pooling, "dropout": 0.0}


def _stripedhyena2(foreign: Foreign, choices: Choices) -> Described:
    notes: list[str] = []
    assert foreign.layout in ("vortex", "savanna")
    shapes = stripedhyena2_infer.fields_of_shapes(
        foreign.tensors, "vortex" if foreign.layout == "vortex" else "savanna"
    )
    fitting = _matches(shapes, [name for name in shapes if name not in ("rope_base", "has_qkv_bias")])
    if choices.shift is not None or choices.pooling is not None:
        raise ConfigError("--shift and --pooling are for HyenaDNA checkpoints; this is StripedHyena 2.")
    if choices.model is not None:
        row = get_model(choices.model).config
        if not isinstance(row, StripedHyena2Config):
            raise ConfigError(f"{choices.model!r} is no StripedHyena 2 model, and the checkpoint holds one.")
        given: dict[str, Any] = {**row.to_dict(), "tie_embeddings": shapes.get("tie_embeddings", True)}
        notes.append(f"config of {choices.model}, as asked")
    else:
        given = _given(foreign, choices, StripedHyena2Config, stripedhyena2_infer.fields_of_settings, notes)
        if not given and len(fitting) > 1:
            raise ConfigError(
                f"these weights have the shapes of {' and '.join(fitting)}, which differ in what no tensor tells "
                f"({', '.join(_differing(fitting))}). Say which they are: --model {fitting[0]}"
            )
        if not given and fitting:
            given = get_model(fitting[0]).config.to_dict()
            notes.append(
                f"the shapes are those of {fitting[0]} alone; taken from it, as no tensor tells them: "
                + ", ".join(f"{name} = {given[name]}" for name in stripedhyena2_infer.NOT_IN_SHAPES)
            )
        elif not given:
            given = {"context_len": 8192}
            notes.append(
                "no registered size has these shapes; assumed, as no tensor tells them: position_scale = 1, "
                "context_len = 8192, weights_precision = bf16, a GELU in block 0 only; --config sets them"
            )
        given = {**given, **shapes}
    config = StripedHyena2Config.from_dict(given)
    native = from_layout(foreign.tensors, config, foreign.layout)
    _add_frequencies(native, config, notes)
    _add_scales(native, foreign, config, notes)
    matches = [choices.model] if choices.model else fitting
    return Described(native, config, None, {"name": "byte", "case": "upper"}, matches=matches, notes=notes)


def _given(
    foreign: Foreign, choices: Choices, kind: type[AnyConfig], translate: Any, notes: list[str]
) -> dict[str, Any]:
    """Return the fields that a settings file gives, in our words."""
    for settings, name in ((choices.settings, "--config"), (foreign.settings, "config.json")):
        if settings is None:
            continue
        own = {field.name for field in fields(kind)}
        inner = settings["config"] if isinstance(settings.get("config"), Mapping) else settings
        given = dict(translate(inner)) or {key: value for key, value in inner.items() if key in own}
        if given:
            notes.append(f"from {name}: {', '.join(sorted(given))}")
            return given
    return {}


def _matches(config: AnyConfig | Mapping[str, Any], names: Any) -> list[str]:
    values = config if isinstance(config, Mapping) else config.to_dict()
    return [
        row.name
        for row in MODELS.values()
        if all(getattr(row.config, name, None) == values[name] for name in names)
    ]


def _differing(names: list[str]) -> list[str]:
    configs = [get_model(name).config.to_dict() for name in names]
    return [name for name, value in configs[0].items() if any(other[name] != value for other in configs[1:])]


def _add_frequencies(native: dict[str, Tensor], config: StripedHyena2Config, notes: list[str]) -> None:
    head_dim = config.d_model // config.n_heads
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    computed = config.rope_base**-exponents
    if config.rounds_inv_freq:
        computed = computed.bfloat16().float()
    added = [
        index
        for index, letter in enumerate(config.pattern)
        if letter == "A" and f"blocks.{index}.mixer.inv_freq" not in native
    ]
    for index in added:
        native[f"blocks.{index}.mixer.inv_freq"] = computed.clone()
    if added:
        notes.append(f"rotary frequencies computed from rope_base = {config.rope_base:g}: the file has none")


def _add_scales(
    native: dict[str, Tensor], foreign: Foreign, config: StripedHyena2Config, notes: list[str]
) -> None:
    if config.weights_precision != "fp8":
        if foreign.extra_states:
            notes.append("left out: extra states of the projections, which this model does not need")
        return
    unknown = torch.tensor(float("nan"), dtype=torch.float32)
    missing = 0
    for index, letter in enumerate(config.pattern):
        if letter == "A":
            continue
        pair = scales_of(foreign.extra_states.get(f"blocks.{index}.projections"))
        missing += pair is None
        for ending, scale in zip(_SCALES, pair or (unknown, unknown), strict=True):
            native[f"blocks.{index}.mixer.projections{ending}"] = scale.clone()
    if missing:
        notes.append(
            f"{missing} of the 8-bit projections have no scales in the file: the model will run only with "
            "--allow-precision-loss"
        )
    else:
        notes.append("scales of the 8-bit projections kept")
