"""Published sizes of StripedHyena 2 (Evo 2), and our own for one GPU.

Sources: the Evo 2 configurations and model cards (Arc Institute), as of November 2026. The wider MLPs of the models of
long context are the narrower ones padded with zeros.
"""

from dataclasses import dataclass
from typing import Any

from genomix.models.stripedhyena2.config import StripedHyena2Config


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A named size: its config, and where its published weights are."""

    name: str
    config: StripedHyena2Config
    source: str | None = None
    notes: str = ""


def _pattern(n_layers: int, attention: tuple[int, ...]) -> str:
    """Return the blocks: attention where it stands, S, M, L in turn in between."""
    letters = []
    hyena = 0
    for index in range(n_layers):
        if index in attention:
            letters.append("A")
        else:
            letters.append("SML"[hyena % 3])
            hyena += 1
    return "".join(letters)


def _published(name: str, notes: str, **fields: Any) -> Size:
    return Size(
        name=f"evo2/{name}",
        config=StripedHyena2Config(**fields),
        source=f"arcinstitute/evo2_{name}",
        notes=notes,
    )


_SHAPE_1B = {
    "pattern": _pattern(25, (3, 10, 17, 24)),
    "d_model": 1920,
    "n_heads": 15,
    "d_inner": 5120,
    "n_groups": 128,
    "weights_precision": "fp8",
}
_SHAPE_7B = {"pattern": _pattern(32, (3, 10, 17, 24, 31)), "d_model": 4096, "n_heads": 32, "n_groups": 256}
_SHAPE_20B = {
    "pattern": _pattern(24, (3, 10, 17)),
    "d_model": 8192,
    "n_heads": 64,
    "n_groups": 512,
    "rope_base": 1e6,
    "weights_precision": "fp8",
}
_SHAPE_40B = {**_SHAPE_20B, "pattern": _pattern(50, (3, 10, 17, 24, 31, 35, 42, 49))}


def _ours(name: str, pattern: str, d_model: int, n_groups: int, notes: str) -> Size:
    config = StripedHyena2Config(
        pattern=pattern,
        d_model=d_model,
        n_heads=d_model // 64,
        d_inner=-(-8 * d_model // 3 // 64) * 64,
        context_len=8192,
        n_groups=n_groups,
        gelu_blocks=None,
        rounds_inv_freq=False,
        li_rounds_before_skip=False,
    )
    return Size(name=f"sh2/{name}", config=config, notes=notes)


SIZES: tuple[Size, ...] = (
    _ours("7m", "SMLASML", 256, 16, "ours, for one small GPU"),
    _ours("40m", "SMLASMLSMLA", 512, 32, "ours, for one GPU"),
    _ours("150m", "SMLASMLSMLASMLSML", 768, 48, "ours, for one large GPU"),
    _published("1b_base", "8 kb of context; needs fp8", context_len=8192, **_SHAPE_1B),
    _published("7b_base", "8 kb of context", context_len=8192, d_inner=11008, **_SHAPE_7B),
    _published(
        "7b_262k", "262 kb of context", context_len=262_144, d_inner=11008, position_scale=32.0, **_SHAPE_7B
    ),
    _published(
        "7b", "1 Mb of context", context_len=1_048_576, d_inner=11264, position_scale=128.0, **_SHAPE_7B
    ),
    _published(
        "20b",
        "1 Mb of context; needs fp8",
        context_len=1_048_576,
        d_inner=22528,
        position_scale=128.0,
        **_SHAPE_20B,
    ),
    _published("40b_base", "8 kb of context; needs fp8", context_len=8192, d_inner=21888, **_SHAPE_40B),
    _published(
        "40b",
        "1 Mb of context; needs fp8",
        context_len=1_048_576,
        d_inner=22528,
        position_scale=128.0,
        **_SHAPE_40B,
    ),
)
