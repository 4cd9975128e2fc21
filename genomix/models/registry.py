"""Published sizes and our own: one row each. Importing this costs no torch.

Weights are not bundled; `source` names where the publishers keep them, and `sha256` what the file there hashes to.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, overload

from genomix.models.families import AnyConfig, build_language_model
from genomix.models.hyenadna.config import HyenaDNAConfig
from genomix.models.stripedhyena2.config import StripedHyena2Config
from genomix.models.stripedhyena2.sizes import SIZES, Size
from genomix_data.errors import ConfigError

if TYPE_CHECKING:
    from genomix.models.hyenadna.model import HyenaDNA
    from genomix.models.stripedhyena2.model import StripedHyena2


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRow:
    """One named size.

    Attributes:
        name: ``collection/size``: ``hyenadna/*``, ``evo2/*`` (published StripedHyena 2), ``sh2/*`` (ours).
        family: Name of the folder under `genomix.models`, and the ``model_type`` of its checkpoints.
        config: What `build_model` takes.
        n_parameters: Trainable parameters of the language model.
        source: Hugging Face repository of the published weights; None if there are none.
        sha256: SHA-256 of ``model.safetensors`` there; None where it is not known.
        original_source: Repository of the authors' first release, a Lightning ``weights.ckpt``.
        original_sha256: SHA-256 of that file; None where it is not known.
        licence: Of the weights (SPDX); None if there are none.
        notes: One line for a table.
    """

    name: str
    family: str
    config: AnyConfig
    n_parameters: int
    source: str | None = None
    sha256: str | None = None
    original_source: str | None = None
    original_sha256: str | None = None
    licence: str | None = None
    notes: str = ""

    @property
    def context_len(self) -> int:
        """Tokens that the weights were trained at."""
        return self.config.context_len

    def to_dict(self) -> dict[str, Any]:
        """Return everything that is known of this size, ready for JSON."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**known, "context_len": self.context_len, "config": self.config.to_dict()}


def _hyenadna(
    size: str,
    repository: str,
    d_model: int,
    n_layers: int,
    l_max: int,
    n_parameters: int,
    notes: str,
    sha256: str | None = None,
    original_sha256: str | None = None,
) -> ModelRow:
    original = f"LongSafari/hyenadna-{repository}"
    return ModelRow(
        name=f"hyenadna/{size}",
        family="hyenadna",
        config=HyenaDNAConfig(d_model=d_model, n_layers=n_layers, d_inner=4 * d_model, l_max=l_max),
        n_parameters=n_parameters,
        source=f"{original}-hf",
        sha256=sha256,
        original_source=original,
        original_sha256=original_sha256,
        licence="BSD-3-Clause",
        notes=notes,
    )


def _stripedhyena2(size: Size) -> ModelRow:
    return ModelRow(
        name=size.name,
        family="stripedhyena2",
        config=size.config,
        n_parameters=size.config.n_parameters,
        source=size.source,
        licence="Apache-2.0" if size.source else None,
        notes=size.notes,
    )


_ROWS = (
    ModelRow(
        name="hyenadna/demo",
        family="hyenadna",
        config=HyenaDNAConfig(d_model=96, n_layers=2, d_inner=384, l_max=1026),
        n_parameters=257_728,
        notes="ours, to be trained from scratch on two CPU cores; no published weights",
    ),
    _hyenadna(
        "tiny-1k",
        "tiny-1k-seqlen",
        128,
        2,
        1026,
        436_096,
        "1 kb of context; trains on any GPU",
        sha256="5ce2146c21e9c4baa6bddc4998fd3d029903ae84a563bf80218644082194a12d",
        original_sha256="1aab9cfb42b3c8deb60dfec94cc8df9dcacbe3a23b8e346e3c18cec3b764b0ad",
    ),
    _hyenadna(
        "tiny-1k-d256",
        "tiny-1k-seqlen-d256",
        256,
        2,
        1026,
        1_641_088,
        "1 kb of context, twice as wide",
        sha256="81c15c4042d5fae646f00b429b76c65644cdbe88aa7e98b61aa781c84ff09031",
    ),
    _hyenadna("tiny-16k-d128", "tiny-16k-seqlen-d128", 128, 2, 16386, 436_096, "16 kb of context"),
    _hyenadna(
        "small-32k",
        "small-32k-seqlen",
        256,
        4,
        32770,
        3_277_568,
        "32 kb of context",
        sha256="b7a1c9479248edf27691b189bb6657256f1705e560cadc64d6431633932cafa1",
    ),
    _hyenadna("medium-160k", "medium-160k-seqlen", 256, 8, 160002, 6_550_528, "160 kb of context"),
    _hyenadna(
        "medium-450k",
        "medium-450k-seqlen",
        256,
        8,
        450002,
        6_550_528,
        "450 kb of context",
        sha256="3a4e6386b1e469130e7fd2e9aab2afa3d71ba5bfa58a19b284d13e4317cc25cb",
    ),
    _hyenadna(
        "large-1m",
        "large-1m-seqlen",
        256,
        8,
        1000002,
        6_550_528,
        "1 Mb of context",
        sha256="deafb53209bfafb314d14bd81108546a34d473c07ed7ab7a355674376b56ad12",
    ),
    *map(_stripedhyena2, SIZES),
)

MODELS: Mapping[str, ModelRow] = {row.name: row for row in _ROWS}


def get_model(name: str) -> ModelRow:
    """Return the row of this name.

    Raises:
        ConfigError: if there is none, with the name that may have been meant.
    """
    if name in MODELS:
        return MODELS[name]
    close = difflib.get_close_matches(name, MODELS, n=1) or [
        row for row in MODELS if row.endswith(f"/{name}")
    ]
    if not close:
        close = difflib.get_close_matches(name, [row.split("/", 1)[1] for row in MODELS], n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ConfigError(f"no model is named {name!r}.{hint} There are {', '.join(MODELS)}.")


def hyenadna_config(name: str) -> HyenaDNAConfig:
    """Return the config of a named HyenaDNA size, for code that serves this family only.

    Raises:
        ConfigError: if there is no such size, or it is of another family.
    """
    row = get_model(name)
    if not isinstance(row.config, HyenaDNAConfig):
        raise ConfigError(f"{name!r} is a {row.family} model; this works with hyenadna/* only.")
    return row.config


@overload
def build_model(config: HyenaDNAConfig, **changes: object) -> "HyenaDNA": ...
@overload
def build_model(config: StripedHyena2Config, **changes: object) -> "StripedHyena2": ...
@overload
def build_model(config: str, **changes: object) -> "HyenaDNA | StripedHyena2": ...
def build_model(config: AnyConfig | str, **changes: object) -> "HyenaDNA | StripedHyena2":
    """Return a freshly initialized model of this config, or of the registered name, with some fields changed."""
    base = get_model(config).config if isinstance(config, str) else config
    if isinstance(base, HyenaDNAConfig):
        return build_language_model(replace(base, **changes))  # type: ignore[arg-type]
    return build_language_model(replace(base, **changes))  # type: ignore[arg-type]
