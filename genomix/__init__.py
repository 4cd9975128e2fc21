"""genomix: pretrain, fine-tune and score variants with long-convolution models of DNA.

The public face is imported lazily, so that ``import genomix`` and ``genomix --help`` cost no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_FACE: dict[str, str] = {
    "Genome": "genomix_data.genome",
    "Interval": "genomix_data.interval",
    "Variant": "genomix_data.variant",
    "HyenaDNA": "genomix.models.hyenadna.model",
    "HyenaDNAConfig": "genomix.models.hyenadna.config",
    "StripedHyena2": "genomix.models.stripedhyena2.model",
    "StripedHyena2Config": "genomix.models.stripedhyena2.config",
    "convert": "genomix.checkpoint.convert",
    "embed": "genomix.inference.embed",
    "generate": "genomix.inference.generate",
    "load_model": "genomix.checkpoint.native",
    "save_model": "genomix.checkpoint.native",
    "score_sequences": "genomix.inference.score_sequences",
}

__all__ = [
    "Genome",
    "HyenaDNA",
    "HyenaDNAConfig",
    "Interval",
    "StripedHyena2",
    "StripedHyena2Config",
    "Variant",
    "__version__",
    "convert",
    "embed",
    "generate",
    "load_model",
    "save_model",
    "score_sequences",
]

if TYPE_CHECKING:
    from genomix.checkpoint.convert import convert
    from genomix.checkpoint.native import load_model, save_model
    from genomix.inference.embed import embed
    from genomix.inference.generate import generate
    from genomix.inference.score_sequences import score_sequences
    from genomix.models.hyenadna.config import HyenaDNAConfig
    from genomix.models.hyenadna.model import HyenaDNA
    from genomix.models.stripedhyena2.config import StripedHyena2Config
    from genomix.models.stripedhyena2.model import StripedHyena2
    from genomix_data.genome import Genome
    from genomix_data.interval import Interval
    from genomix_data.variant import Variant


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'genomix' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_FACE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
